//! Puts the container into its group of the resctrl file system, and takes the group away with it.

mod stats;

use crate::fault::{Fault, OrFault};
use crate::plan::intel_rdt::{Group, IntelRdt};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// The container's place in resctrl.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Where resctrl is mounted.
    root: PathBuf,
    /// The directory of its class of service.
    group: PathBuf,
    /// The directory of its own monitoring group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    monitoring: Option<PathBuf>,
    /// Whether `group` comes and goes with the container.
    own: bool,
}

impl Share {
    /// Chooses it, before anything is made: what is there already is not the container's.
    pub fn choose(rdt: &IntelRdt<'_>, id: &str) -> Self {
        let group = match rdt.group {
            Group::OfContainer => rdt.root.join(id),
            Group::Default => rdt.root.clone(),
            Group::Named(name) => rdt.root.join(name),
        };
        Self {
            own: rdt.group == Group::OfContainer && !group.exists(),
            monitoring: rdt.monitoring.then(|| group.join("mon_groups").join(id)),
            root: rdt.root.clone(),
            group,
        }
    }

    /// Makes what is missing, puts the process `pid` in, and writes the schemata.
    ///
    /// # Errors
    /// A class of service that has to be there and is not, or whose schemata are others; what resctrl refuses.
    pub fn enter(&self, rdt: &IntelRdt<'_>, pid: i32) -> anyhow::Result<()> {
        if self.group.exists() {
            if rdt.group != Group::OfContainer {
                self.compare(rdt)?;
            }
        } else if rdt.group != Group::OfContainer && rdt.schemata.is_empty() {
            return Err(self.missing("make it and write its schemata first, or give them in config.json"));
        } else {
            self.make()?;
        }
        self.add(pid)?;
        if !rdt.schemata.is_empty() {
            self.write(rdt)?;
        }
        Ok(())
    }

    /// Puts the processes `pids` in, those that are not there yet, and writes the schemata: of a container that
    /// runs already.
    ///
    /// # Errors
    /// A group that is missing and is not its own, which nobody would remove; what resctrl refuses.
    pub fn change(&self, rdt: &IntelRdt<'_>, pids: &[i32]) -> anyhow::Result<()> {
        if !self.group.exists() {
            if !self.own {
                return Err(self.missing("make it first, as it was"));
            }
            self.make()?;
        }
        let present = fs::read_to_string(self.group.join("tasks")).unwrap_or_default();
        for pid in pids.iter().filter(|pid| !present.lines().any(|line| line == pid.to_string())) {
            self.add(*pid)?;
        }
        self.write(rdt)
    }

    /// Puts one more process in.
    pub fn add(&self, pid: i32) -> anyhow::Result<()> {
        let at = "linux.intelRdt";
        let tasks = |directory: &Path| {
            let file = directory.join("tasks");
            fs::write(&file, pid.to_string())
                .or_fault(|| self.refused(at, format!("write process {pid} to {}", file.display())))
        };
        tasks(&self.group)?;
        let Some(monitoring) = &self.monitoring else { return Ok(()) };
        match fs::create_dir(monitoring) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                let at = "linux.intelRdt.enableMonitoring";
                Err(self.refused(at, format!("make {}", monitoring.display())).caused_by(error))
            }
            _ => tasks(monitoring),
        }
    }

    fn make(&self) -> anyhow::Result<()> {
        let doing = || self.refused("linux.intelRdt", format!("make {}", self.group.display()));
        fs::create_dir(&self.group).or_fault(doing)
    }

    fn missing(&self, remedy: &str) -> anyhow::Error {
        Fault::at("linux.intelRdt.closID", format!("{} does not exist", self.group.display()))
            .remedy(remedy)
            .into()
    }

    /// All lines at once, as the file wants them.
    fn write(&self, rdt: &IntelRdt<'_>) -> anyhow::Result<()> {
        let lines: String = rdt.schemata.iter().flat_map(|(_, line)| [*line, "\n"]).collect();
        let file = self.group.join("schemata");
        fs::write(&file, &lines).or_fault(|| {
            let (at, _) = rdt.schemata[0];
            self.refused(at, format!("write {lines:?} to {}", file.display()))
        })
    }

    /// A class of service that is shared already keeps what it promises to the others.
    fn compare(&self, rdt: &IntelRdt<'_>) -> anyhow::Result<()> {
        let mut promised = rdt.promised().peekable();
        let Some((first, _)) = promised.peek() else { return Ok(()) };
        let file = self.group.join("schemata");
        let present =
            fs::read_to_string(&file).or_fault(|| self.refused(first, format!("read {}", file.display())))?;
        for (at, line) in promised {
            if !has(&present, line) {
                return Err(Fault::at(at, format!("{line:?} is not what {} has", file.display()))
                    .remedy("give the class's own values, or another closID")
                    .into());
            }
        }
        Ok(())
    }

    /// Takes away what was made. What holds others' processes or has gone is left alone.
    pub fn leave(&self) -> io::Result<()> {
        let own = self.own.then_some(&self.group);
        // The kernel removes a monitoring group together with its class of service.
        let Some(directory) = own.or(self.monitoring.as_ref()) else { return Ok(()) };
        match fs::remove_dir(directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    /// resctrl says in a file of its own what it did not like.
    fn refused(&self, at: impl std::fmt::Display, doing: String) -> Fault {
        let said = fs::read_to_string(self.root.join("info/last_cmd_status")).unwrap_or_default();
        match said.trim() {
            "" | "ok" => Fault::at(at, doing)
                .remedy(format!("run kase as root, and look at {}/info", self.root.display())),
            said => Fault::at(at, format!("{doing} (last_cmd_status: {said})"))
                .remedy(format!("see what the hardware takes in {}/info", self.root.display())),
        }
    }
}

/// Whether a schemata file has every value of `line` (`L3:0=7f0;1=1f`), however it is written there.
fn has(schemata: &str, line: &str) -> bool {
    let Some((resource, wanted)) = values(line) else { return false };
    let present = schemata.lines().filter_map(values).find(|(name, _)| *name == resource);
    present
        .is_some_and(|(_, present)| wanted.iter().all(|(domain, value)| present.get(domain) == Some(value)))
}

/// The values by domain: bit masks are in base 16, bandwidth in base 10.
fn values(line: &str) -> Option<(&str, BTreeMap<u32, u64>)> {
    let (resource, rest) = line.trim().split_once(':')?;
    let base = if resource == "MB" { 10 } else { 16 };
    let value = |part: &str| {
        let (domain, value) = part.split_once('=')?;
        Some((domain.trim().parse().ok()?, u64::from_str_radix(value.trim(), base).ok()?))
    };
    let values = rest.split(';').filter(|part| !part.trim().is_empty()).map(value);
    Some((resource, values.collect::<Option<_>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Report;
    use crate::host::facilities::{Facilities, Resctrl};
    use crate::plan::intel_rdt::decide;
    use serde_json::{Value, json};

    /// A directory that looks like resctrl; its files take whatever is written.
    struct StandIn(PathBuf);

    impl StandIn {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("kase-rdt-{name}-{}", std::process::id()));
            // Left by an earlier run that failed, or not there.
            let _ = fs::remove_dir_all(&root);
            for directory in ["info/L3", "info/MB", "mon_groups", "gold/mon_groups"] {
                fs::create_dir_all(root.join(directory)).unwrap();
            }
            fs::write(root.join("gold/schemata"), "    L3:0=07f0;1=001f\n    MB:0=  20;1=  70\n").unwrap();
            Self(root)
        }

        fn enter(&self, listed: Value) -> Result<Share, String> {
            let listed = serde_json::from_value(listed).unwrap();
            let resctrl = Some(Resctrl::at(self.0.clone()).unwrap());
            let facilities = Facilities { resctrl, ..Facilities::default() };
            let rdt = decide(Some(&listed), &facilities).unwrap().unwrap();
            let share = Share::choose(&rdt, "web");
            share.enter(&rdt, 42).map(|()| share).map_err(|error| Report::of(&error).line)
        }

        fn read(&self, path: &str) -> String {
            fs::read_to_string(self.0.join(path)).unwrap_or_else(|_| "missing".into())
        }
    }

    impl Drop for StandIn {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a_container_gets_a_group_of_its_own_that_goes_with_it() {
        let resctrl = StandIn::new("own");
        let share = resctrl.enter(json!({"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=20"})).unwrap();
        assert_eq!(resctrl.read("web/tasks"), "42");
        assert_eq!(resctrl.read("web/schemata"), "L3:0=f\nMB:0=20\n");
        // The real file system removes its files with the directory.
        fs::remove_file(resctrl.0.join("web/tasks")).unwrap();
        fs::remove_file(resctrl.0.join("web/schemata")).unwrap();
        share.leave().unwrap();
        share.leave().unwrap();
        assert!(!resctrl.0.join("web").exists());
    }

    #[test]
    fn a_group_that_was_there_stays() {
        let resctrl = StandIn::new("stays");
        fs::create_dir(resctrl.0.join("web")).unwrap();
        resctrl.enter(json!({})).unwrap().leave().unwrap();
        assert_eq!(resctrl.read("web/tasks"), "42");
        resctrl.enter(json!({"closID": "gold"})).unwrap().leave().unwrap();
        assert_eq!(resctrl.read("gold/tasks"), "42");
        resctrl.enter(json!({"closID": "/"})).unwrap().leave().unwrap();
        assert_eq!(resctrl.read("tasks"), "42");
    }

    #[test]
    fn a_class_of_service_keeps_what_it_has() {
        let resctrl = StandIn::new("keeps");
        resctrl
            .enter(json!({"closID": "gold", "l3CacheSchema": "L3:1=1f", "memBwSchema": "MB:0=20"}))
            .unwrap();
        drop(resctrl);
        let resctrl = StandIn::new("keeps");
        for (field, line) in [("l3CacheSchema", "L3:0=7ff"), ("memBwSchema", "MB:2=20")] {
            let error = resctrl.enter(json!({"closID": "gold", field: line})).unwrap_err();
            assert!(error.starts_with(&format!("linux.intelRdt.{field}: {line:?} is not what")), "{error}");
        }
        assert_eq!(resctrl.read("gold/tasks"), "missing");
    }

    #[test]
    fn a_class_of_service_is_made_only_with_schemata() {
        let resctrl = StandIn::new("made");
        let error = resctrl.enter(json!({"closID": "lead"})).unwrap_err();
        assert!(error.starts_with("linux.intelRdt.closID: "), "{error}");
        resctrl.enter(json!({"closID": "lead", "schemata": ["L3:0=f", "L2:0=1"]})).unwrap();
        assert_eq!(resctrl.read("lead/schemata"), "L3:0=f\nL2:0=1\n");
    }

    #[test]
    fn a_container_that_runs_gets_other_schemata_and_a_group_if_it_has_none() {
        let resctrl = StandIn::new("change");
        let listed = serde_json::from_value(json!({"l3CacheSchema": "L3:0=f"})).unwrap();
        let found = Some(Resctrl::at(resctrl.0.clone()).unwrap());
        let facilities = Facilities { resctrl: found, ..Facilities::default() };
        let rdt = decide(Some(&listed), &facilities).unwrap().unwrap();
        let share = Share::choose(&rdt, "web");
        share.change(&rdt, &[42]).unwrap();
        assert_eq!(
            (resctrl.read("web/tasks"), resctrl.read("web/schemata")),
            ("42".into(), "L3:0=f\n".into())
        );
        // The stand-in's file keeps the last that was written.
        share.change(&rdt, &[42]).unwrap();
        assert_eq!(resctrl.read("web/tasks"), "42");
        assert!(share.own);
    }

    #[test]
    fn a_change_makes_no_group_that_nobody_would_remove() {
        let resctrl = StandIn::new("others");
        let share = resctrl.enter(json!({"closID": "gold"})).unwrap();
        fs::remove_dir_all(resctrl.0.join("gold")).unwrap();
        let listed = serde_json::from_value(json!({"l3CacheSchema": "L3:0=f"})).unwrap();
        let found = Some(Resctrl::at(resctrl.0.clone()).unwrap());
        let rdt = decide(Some(&listed), &Facilities { resctrl: found, ..Facilities::default() });
        let error = share.change(&rdt.unwrap().unwrap(), &[]).unwrap_err();
        assert!(Report::of(&error).line.ends_with("gold does not exist"), "{error}");
        assert!(!resctrl.0.join("gold").exists());
    }

    #[test]
    fn a_monitoring_group_is_the_containers_and_is_removed() {
        let resctrl = StandIn::new("monitoring");
        let share = resctrl.enter(json!({"closID": "gold", "enableMonitoring": true})).unwrap();
        assert_eq!(resctrl.read("gold/mon_groups/web/tasks"), "42");
        fs::remove_file(resctrl.0.join("gold/mon_groups/web/tasks")).unwrap();
        share.leave().unwrap();
        assert!(!resctrl.0.join("gold/mon_groups/web").exists());
        assert!(resctrl.0.join("gold").exists());
    }

    #[test]
    fn what_resctrl_says_of_a_failure_is_told() {
        let resctrl = StandIn::new("says");
        fs::write(resctrl.0.join("info/last_cmd_status"), "No free closids\n").unwrap();
        fs::write(resctrl.0.join("gold/mon_groups/web"), "in the way").unwrap();
        fs::create_dir(resctrl.0.join("gold/tasks")).unwrap();
        let error = resctrl.enter(json!({"closID": "gold"})).unwrap_err();
        assert!(error.contains("last_cmd_status: No free closids"), "{error}");
    }
}
