//! A host that is broken, for one command and what follows from its error: in namespaces of the test's own.

use super::{Kase, Outcome};
use std::process::Command;

/// Breaks something, runs kase, and does what its help says, until that succeeds or there is no more help.
///
/// The script gets kase and its words as `"$@"`; `kase` in it runs them as the test's caller, `follow` does what
/// the last help says.
pub struct Surroundings<'a> {
    kase: &'a Kase,
    enter: Vec<&'static str>,
    before: String,
}

impl<'a> Surroundings<'a> {
    /// A mount namespace of root's, with this script run in it first; needs root.
    pub fn mounts(kase: &'a Kase, before: &str) -> Self {
        Self { kase, enter: vec!["unshare", "--mount", "--propagation=private"], before: before.to_owned() }
    }

    /// A user namespace, whose root the caller is, with this script run in it first.
    pub fn user_namespace(kase: &'a Kase, before: &str) -> Self {
        Self {
            kase,
            enter: vec!["unshare", "--user", "--map-root-user", "--mount"],
            before: before.to_owned(),
        }
    }

    fn drops_to_the_caller(&self) -> bool {
        self.enter.contains(&"--propagation=private") && !self.kase.is_root()
    }

    /// Runs kase in them as often as `script` does.
    pub fn run(&self, script: &str, words: &Command) -> Outcome {
        let own = &self.kase.identity;
        let become_caller = match self.drops_to_the_caller() {
            true => format!("setpriv --reuid={} --regid={} --clear-groups", own.uid, own.gid),
            false => String::new(),
        };
        let whole = format!(
            "as() {{ {become_caller} \"$@\"; }}
             follow() {{ remedy=$(sed -n 's/^ *help: run as root: //p' \"$1\" | head -n 1); \
                [ -n \"$remedy\" ] && echo \"$remedy\" >>followed && sh -c \"$remedy\"; }}
             {}
             {script}",
            self.before
        );
        let mut command = match self.drops_to_the_caller() {
            true => Command::new(self.enter[0]),
            false => self.kase.program(self.enter[0]),
        };
        command.args(&self.enter[1..]).args(["sh", "-c", &whole, "sh"]);
        command.arg(words.get_program()).args(words.get_args()).current_dir(self.kase.path(""));
        command.env_clear().envs(words.get_envs().filter_map(|(name, value)| Some((name, value?))));
        self.kase.finish(command)
    }

    /// Runs kase once.
    pub fn once(&self, words: &Command) -> Outcome {
        self.run("as \"$@\"", words)
    }

    /// Runs kase, does what its help says, and so on; five times at most. Its last outcome, and the commands.
    pub fn followed(&self, words: &Command) -> (Outcome, String) {
        let script = "for _ in 1 2 3 4 5; do
                as \"$@\" >out 2>err; code=$?
                [ $code = 0 ] && break
                follow err || break
            done
            cat out; cat err >&2; exit $code";
        // Both sides write there.
        for name in ["out", "err", "followed"] {
            self.kase.file(name, "");
        }
        let outcome = self.run(script, words);
        (outcome, std::fs::read_to_string(self.kase.path("followed")).unwrap())
    }
}
