//! A user who was given a directory: in some hierarchies of cgroup v1, or one of v2.

use crate::common::{Bundle, Kase, Outcome, Surroundings, json, words};
use std::fs;
use std::path::{Path, PathBuf};

deeds! { user:
    the_hierarchies_that_were_given_are_used,
    a_limit_where_nothing_was_given_is_refused,
    a_strangers_cgroup_is_none_of_ours,
    a_cgroup_that_was_given_without_its_tasks_is_entered,
    the_cgroup_is_made_where_it_was_planned,
    a_directory_of_v2_that_was_given_has_limits,
    a_directory_of_v2_with_ourselves_in_it_limits_threads_alone,
}

/// Directories of the user's in some hierarchies, as an administrator makes them; removed when let go of.
pub struct Given {
    directories: Vec<PathBuf>,
    /// Where kase starts, if not right in them.
    start: Option<PathBuf>,
}

impl Given {
    fn make(kase: &Kase, controllers: &[&str]) -> Result<Self, String> {
        if !crate::common::is_root() {
            return Err("only root can give a directory to the user".into());
        }
        let mut given = Self { directories: Vec::new(), start: None };
        for controller in controllers {
            let top = Path::new("/sys/fs/cgroup").join(controller);
            if !top.join("tasks").exists() {
                return Err(format!("needs cgroup v1 with {controller}"));
            }
            let directory = top.join(format!("{}-given", kase.name()));
            fs::create_dir(&directory).unwrap();
            given.directories.push(directory.clone());
            for file in ["", "cgroup.procs", "tasks"] {
                kase.identity.own(&directory.join(file));
            }
        }
        Ok(given)
    }

    /// One of v2, with the controllers that these tests need.
    fn make_v2(kase: &Kase) -> Result<Self, String> {
        let top = Path::new("/sys/fs/cgroup");
        let controllers = fs::read_to_string(top.join("cgroup.controllers")).unwrap_or_default();
        if !crate::common::is_root() || !controllers.contains("memory") || !controllers.contains("pids") {
            return Err("needs root, and cgroup v2 with memory and pids".into());
        }
        fs::write(top.join("cgroup.subtree_control"), "+memory +pids").unwrap();
        Ok(Self::make_below(kase, top))
    }

    /// One of v2, or of the tree beside v1, with kase in a cgroup below.
    pub fn make_in_a_tree(kase: &Kase) -> Result<Self, String> {
        let mut tops = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new).into_iter();
        match tops.find(|top| top.join("cgroup.subtree_control").exists()) {
            Some(top) if crate::common::is_root() => Ok(Self::make_below(kase, top).with_a_shell_below(kase)),
            _ => Err("needs root, and cgroup v2".into()),
        }
    }

    fn make_below(kase: &Kase, top: &Path) -> Self {
        let directory = top.join(format!("{}-given", kase.name()));
        fs::create_dir(&directory).unwrap();
        for file in ["", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"] {
            kase.identity.own(&directory.join(file));
        }
        Self { directories: vec![directory], start: None }
    }

    /// With kase one further down, so that what was given has no processes of its own.
    fn with_a_shell_below(mut self, kase: &Kase) -> Self {
        let start = self.directories[0].join("shell");
        fs::create_dir(&start).unwrap();
        for file in ["", "cgroup.procs"] {
            kase.identity.own(&start.join(file));
        }
        self.start = Some(start);
        self
    }

    /// kase as the user, in these cgroups.
    fn call(&self, kase: &Kase, args: &[&std::ffi::OsStr]) -> Outcome {
        self.finish(kase, &kase.command(args))
    }

    /// Any command as the user, in these cgroups.
    pub fn finish(&self, kase: &Kase, kases: &std::process::Command) -> Outcome {
        let mut command = std::process::Command::new("sh");
        let start = self.start.as_ref().map_or(self.directories.as_slice(), std::slice::from_ref);
        let enter: String =
            start.iter().map(|path| format!("echo $$ >{}/cgroup.procs; ", path.display())).collect();
        let (uid, gid) = (kase.identity.uid.to_string(), kase.identity.gid.to_string());
        command.args(["-c", &format!("{enter}exec \"$@\""), "sh", "setpriv", "--clear-groups"]);
        command
            .args(["--reuid", &uid, "--regid", &gid, "--"])
            .arg(kases.get_program())
            .args(kases.get_args());
        command.env_clear().current_dir(kase.path(""));
        command.envs(kases.get_envs().filter_map(|(key, value)| Some((key, value?))));
        kase.finish(command)
    }

    fn run(&self, kase: &Kase, bundle: &Bundle, id: &str) -> Outcome {
        let words = words(["--log-level", "info", "run", "--detach", "-b"], bundle.dir(), [id]);
        self.call(kase, &words)
    }

    /// The same by kase's own hand, whatever systemd would give.
    fn run_by_hand(&self, kase: &Kase, bundle: &Bundle, id: &str) -> Outcome {
        let options = ["--cgroup-manager=cgroupfs", "run", "--detach", "-b"];
        self.call(kase, &words(options, bundle.dir(), [id]))
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        for directory in self.start.iter().chain(&self.directories) {
            let _ = fs::remove_dir(directory);
        }
    }
}

fn the_hierarchies_that_were_given_are_used(kase: &Kase) {
    let given = match Given::make(kase, &["pids", "freezer"]) {
        Ok(given) => given,
        Err(why) => skip!("{why}"),
    };
    let bundle = kase.bundle().args(["/probe", "forks", "10", "--", "sleep"]);
    let bundle = bundle.edit(|spec| spec["linux"]["resources"]["pids"] = json!({"limit": 4}));
    let id = kase.id();
    let outcome = given.run(kase, &bundle, &id);
    let state = kase.call(["state", &id]);
    let paused = kase.call(["pause", &id]);
    let cgroup = given.directories[0].join(&id);
    let there = (cgroup.join("pids.max"), fs::read_to_string(cgroup.join("pids.max")).unwrap_or_default());
    kase.call(["delete", "--force", &id]).succeeded();
    outcome.succeeded();
    state.succeeded();
    paused.succeeded();
    assert_eq!(there.1, "4\n", "{}", there.0.display());
    assert!(!cgroup.exists());
    assert!(outcome.err.contains("no cgroup may be made in ") && outcome.err.contains("memory"), "{outcome}");
}

fn a_limit_where_nothing_was_given_is_refused(kase: &Kase) {
    let given = match Given::make(kase, &["pids"]) {
        Ok(given) => given,
        Err(why) => skip!("{why}"),
    };
    let bundle = kase.bundle().edit(|spec| spec["linux"]["resources"]["memory"] = json!({"limit": 64 << 20}));
    let id = kase.id();
    let outcome = given.run(kase, &bundle, &id);
    kase.call(["delete", "--force", &id]).succeeded();
    outcome.refused(&["linux.resources.memory.limit", "cannot set memory limit"]);
    assert!(!given.directories[0].join(&id).exists());
}

fn a_strangers_cgroup_is_none_of_ours(kase: &Kase) {
    let given = match Given::make(kase, &["pids", "freezer"]) {
        Ok(given) => given,
        Err(why) => skip!("{why}"),
    };
    let (bundle, id) = (kase.bundle(), kase.id());
    // Root's, where the container's would be.
    let strangers = given.directories[0].join(&id);
    fs::create_dir(&strangers).unwrap();
    let outcome = given.run(kase, &bundle, &id);
    kase.call(["delete", "--force", &id]).succeeded();
    let stays = strangers.exists();
    let _ = fs::remove_dir(&strangers);
    outcome.succeeded();
    assert!(stays && outcome.err.contains("pids"), "{outcome}");
}

fn a_cgroup_that_was_given_without_its_tasks_is_entered(kase: &Kase) {
    let given = match Given::make(kase, &["pids", "freezer"]) {
        Ok(given) => given,
        Err(why) => skip!("{why}"),
    };
    let (bundle, id) = (kase.bundle().args(["/probe", "sleep"]), kase.id());
    let cgroup = given.directories[0].join(&id);
    fs::create_dir(&cgroup).unwrap();
    for file in ["", "cgroup.procs"] {
        kase.identity.own(&cgroup.join(file));
    }
    let outcome = given.run(kase, &bundle, &id);
    let inside = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap();
    kase.call(["delete", "--force", &id]).succeeded();
    let _ = fs::remove_dir(&cgroup);
    outcome.succeeded();
    assert_eq!(inside.lines().count(), 1, "{inside}");
}

/// What is written down before it is made is all that a crash leaves to `delete`.
fn the_cgroup_is_made_where_it_was_planned(kase: &Kase) {
    let top = Path::new("/sys/fs/cgroup");
    if !crate::common::is_root()
        || !["", "unified"].iter().any(|tree| top.join(tree).join("cgroup.procs").exists())
    {
        skip!("needs root, and cgroup v2");
    }
    let (given, uid, id) = (format!("{}-given", kase.name()), kase.identity.uid, kase.id());
    // Version 2 alone, of which the user has his own cgroup and not the one above.
    let before = format!(
        "[ -e {top}/cgroup.procs ] || mount --bind {top}/unified {top}
         above={top}$(sed -n 's/^0:://p' /proc/self/cgroup) && mkdir $above/{given} && cd $above/{given} &&
         chown {uid} . cgroup.procs cgroup.subtree_control && echo $$ >cgroup.procs && cd \"$OLDPWD\"",
        top = top.display()
    );
    let bundle = kase.bundle().args(["/probe", "sleep"]);
    let record = kase.state_dir().join(&id).join("record");
    let script = format!(
        "as \"$@\" && as \"$1\" --cgroup-manager=cgroupfs create -b {} {id} >created 2>&1 && cat {}
         ls -d $above/{given}/{id}; as \"$1\" delete --force {id}
         echo $$ >$above/cgroup.procs; rmdir $above/{given}",
        bundle.dir().display(),
        record.display()
    );
    kase.file("created", "");
    let options = ["--cgroup-manager=cgroupfs", "explain", "-b"];
    let outcome = Surroundings::mounts(kase, &before)
        .run(&script, &kase.command(words(options, bundle.dir(), [id.as_str()])));
    let place = format!("/{given}/{id}");
    assert!(outcome.stdout().contains(&format!("{place}\n")), "it is there: {outcome}");
    let told: Vec<&str> = outcome.out.lines().filter(|line| line.starts_with("  v2: ")).collect();
    assert!(matches!(told[..], [path] if path.ends_with(&place)), "{outcome}");
    let written: Vec<&str> = outcome.out.lines().filter(|line| line.starts_with("{\"cgroup\":")).collect();
    assert!(matches!(written[..], [line] if line.contains(&place)), "{outcome}");
}

fn a_directory_of_v2_that_was_given_has_limits(kase: &Kase) {
    let given = match Given::make_v2(kase) {
        Ok(given) => given.with_a_shell_below(kase),
        Err(why) => skip!("{why}"),
    };
    let bundle = kase.bundle().args(["/probe", "sleep"]);
    let limits = json!({"pids": {"limit": 4}, "memory": {"limit": 32 << 20, "swap": 32 << 20}});
    let bundle = bundle.edit(|spec| spec["linux"]["resources"] = limits);
    let id = kase.id();
    let started = given.run_by_hand(kase, &bundle, &id);
    let cgroup = given.directories[0].join(&id);
    let there = cgroup.is_dir();
    let as_given = |args: &[&str]| {
        let all: Vec<&std::ffi::OsStr> = args.iter().map(std::ffi::OsStr::new).collect();
        given.call(kase, &all)
    };
    let forks = as_given(&["exec", &id, "/probe", "forks", "10"]);
    let allocated = as_given(&["exec", &id, "/probe", "allocate", "64"]);
    let paused = as_given(&["pause", &id]);
    let more = as_given(&["update", "--pids-limit", "9", &id]);
    let limit = fs::read_to_string(cgroup.join("pids.max")).unwrap_or_default();
    let resumed = as_given(&["resume", &id]);
    as_given(&["delete", "--force", &id]).succeeded();
    started.succeeded();
    assert!(there && !cgroup.exists(), "{}", cgroup.display());
    // Beside the sleeper and itself.
    assert_eq!(forks.out, "2 EAGAIN\n", "{forks}");
    assert_eq!(allocated.code, 137, "{allocated}");
    [paused, more, resumed].iter().for_each(Outcome::succeeded);
    assert_eq!(limit, "9\n");
}

/// A cgroup with processes hands no controller down but those that count threads.
fn a_directory_of_v2_with_ourselves_in_it_limits_threads_alone(kase: &Kase) {
    let given = match Given::make_v2(kase) {
        Ok(given) => given,
        Err(why) => skip!("{why}"),
    };
    let bundle = kase.bundle().args(["/probe", "sleep"]);
    let bundle = bundle.edit(|spec| spec["linux"]["resources"]["pids"] = json!({"limit": 4}));
    let id = kase.id();
    let counted = given.run_by_hand(kase, &bundle, &id);
    let limit = fs::read_to_string(given.directories[0].join(&id).join("pids.max")).unwrap_or_default();
    kase.call(["delete", "--force", &id]).succeeded();
    let bundle = bundle.edit(|spec| spec["linux"]["resources"]["memory"] = json!({"limit": 32 << 20}));
    let id = kase.id();
    let refused = given.run_by_hand(kase, &bundle, &id);
    kase.call(["delete", "--force", &id]);
    counted.succeeded();
    assert_eq!(limit, "4\n");
    refused.refused(&["linux.resources.memory.limit", &given.directories[0].display().to_string()]);
    assert!(!given.directories[0].join(&id).exists());
}
