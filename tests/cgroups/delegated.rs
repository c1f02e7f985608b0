//! cgroup v1 and a user who was given a directory in some of its hierarchies.

use crate::common::{Bundle, Kase, Outcome, json, words};
use std::fs;
use std::path::{Path, PathBuf};

deeds! { user:
    the_hierarchies_that_were_given_are_used,
    a_limit_where_nothing_was_given_is_refused,
    a_strangers_cgroup_is_none_of_ours,
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
