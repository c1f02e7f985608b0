//! A user who was given a directory: in some hierarchies of cgroup v1, or one of v2.

use crate::common::{Bundle, Kase, Outcome, Surroundings, json, words};
use std::fs;
use std::path::{Path, PathBuf};

deeds! { user:
    the_hierarchies_that_were_given_are_used,
    a_limit_where_nothing_was_given_is_refused,
    a_strangers_cgroup_is_none_of_ours,
    the_cgroup_is_made_where_it_was_planned,
}

/// Directories of the user's in some hierarchies, as an administrator makes them; removed when let go of.
struct Given {
    directories: Vec<PathBuf>,
}

impl Given {
    fn make(kase: &Kase, controllers: &[&str]) -> Result<Self, String> {
        if !crate::common::is_root() {
            return Err("only root can give a directory to the user".into());
        }
        let mut given = Self { directories: Vec::new() };
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

    /// kase as the user, in these cgroups.
    fn call(&self, kase: &Kase, args: &[&std::ffi::OsStr]) -> Outcome {
        let kases = kase.command(args);
        let mut command = std::process::Command::new("sh");
        let enter: String = self
            .directories
            .iter()
            .map(|path| format!("echo $$ >{}/cgroup.procs; ", path.display()))
            .collect();
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
}

impl Drop for Given {
    fn drop(&mut self) {
        for directory in &self.directories {
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
