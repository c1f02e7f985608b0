//! What is done before the runtime is called, in the process that becomes it.

use super::Kase;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

/// Two scripts of a shell; an empty one is not run.
#[derive(Clone, Default)]
pub struct Before {
    /// As root, in a mount namespace of its own.
    pub mounts: String,
    /// As the caller.
    pub shell: String,
}

impl Before {
    pub fn shell(script: &str) -> Self {
        Self { shell: script.into(), ..Self::default() }
    }

    pub fn mounts(script: &str) -> Self {
        Self { mounts: script.into(), ..Self::default() }
    }

    /// A command that does all this as the caller of `kase` and becomes `program`.
    pub(super) fn command(&self, kase: &Kase, program: &Path) -> Command {
        let mut words: Vec<OsString> = match self.shell.as_str() {
            "" => Vec::new(),
            script => ["sh", "-c", &format!("{script}\nexec \"$@\""), "sh"].map(OsString::from).into(),
        };
        words.push(program.into());
        if self.mounts.is_empty() {
            let mut command = kase.program(&words[0].to_string_lossy());
            command.args(&words[1..]);
            return command;
        }
        let mut command = Command::new("unshare");
        let script = format!("set -e\n{}\nexec \"$@\"", self.mounts);
        command.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"]);
        if !kase.is_root() {
            let (uid, gid) = (kase.identity.uid.to_string(), kase.identity.gid.to_string());
            command.args(["setpriv", "--reuid", &uid, "--regid", &gid, "--clear-groups", "--"]);
        }
        let plain = kase.program("");
        let variables = plain.get_envs().filter_map(|(name, value)| Some((name, value?)));
        command.args(words).env_clear().envs(variables);
        command.current_dir(kase.path("")).stdin(Stdio::null());
        command
    }
}
