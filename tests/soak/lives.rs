//! The lives that a container can have.

use super::random::Random;
use crate::common::{Bundle, Kase, Outcome, Terminal, json, patience};
use std::collections::BTreeMap;
use std::time::Instant;

/// What is asked of containers beside their program.
const KINDS: [&str; 5] = ["plain", "limits", "hooks", "filter", "overlay"];

/// Bundles that the containers share, made once.
pub struct Bundles {
    /// One of each kind, whose program exits with 7.
    exits: Vec<Bundle>,
    /// One of each kind, whose program sleeps.
    sleeps: Vec<Bundle>,
    /// Its program asks for its terminal.
    terminal: Bundle,
    /// Its program is not there.
    missing: Bundle,
    /// One of its hooks fails.
    failing: Bundle,
}

impl Bundles {
    pub fn of(kase: &Kase) -> Self {
        let of_kinds =
            |args: [&str; 3]| KINDS.iter().map(|kind| of_kind(kase, kind).args(args)).collect::<Vec<_>>();
        Self {
            exits: of_kinds(["/probe", "exit", "7"]),
            sleeps: of_kinds(["/probe", "sleep", "600000"]),
            terminal: kase
                .bundle()
                .args(["/probe", "tty", "--", "exit", "7"])
                .edit(|spec| spec["process"]["terminal"] = json!(true)),
            missing: kase.bundle().args(["/missing"]),
            failing: kase.bundle().edit(|spec| {
                spec["hooks"] =
                    json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "exit 3"]}]});
            }),
        }
    }
}

fn of_kind(kase: &Kase, kind: &str) -> Bundle {
    let root = kase.is_root();
    kase.bundle().edit(|spec| match kind {
        "limits" if root => {
            spec["linux"]["resources"]["pids"] = json!({"limit": 50});
            spec["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
        }
        "limits" => spec["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]),
        "hooks" => {
            let hook = json!([{"path": "/bin/true", "timeout": 60}]);
            spec["hooks"] = json!({"createRuntime": hook, "poststart": hook, "poststop": hook});
        }
        "filter" => {
            spec["linux"]["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 55}],
            });
        }
        "overlay" => spec["annotations"] = json!({"kase.overlay": "tmpfs"}),
        _ => {}
    })
}

/// Makes one container after the other.
pub struct Worker<'a> {
    kase: &'a Kase,
    bundles: &'a Bundles,
    random: Random,
    /// Whether this caller has a cgroup to freeze.
    freezes: bool,
    pub lives: BTreeMap<String, usize>,
    pub faults: Vec<String>,
}

/// What was wrong with a command.
type Lived = Result<(), String>;

/// What becomes of a container.
#[derive(Clone, Copy, Debug)]
enum Life {
    /// `run`, to its end.
    Run,
    /// `create`, `start`, `wait`, `delete`.
    Created,
    /// `run --detach`, some of `exec`, `pause`, `ps` and so on, and an end by force.
    Detached,
    /// `create`, and never a `start`.
    NeverStarted,
    /// `run` with a terminal on a terminal.
    OnTerminal,
    /// It cannot be.
    Refused,
}

/// Some come more often than others.
const LIVES: [Life; 10] = [
    Life::Run,
    Life::Run,
    Life::Run,
    Life::Created,
    Life::Created,
    Life::Detached,
    Life::Detached,
    Life::NeverStarted,
    Life::OnTerminal,
    Life::Refused,
];

impl<'a> Worker<'a> {
    pub fn new(kase: &'a Kase, bundles: &'a Bundles, random: Random) -> Self {
        let lives = BTreeMap::new();
        Self { kase, bundles, random, freezes: kase.is_root(), lives, faults: Vec::new() }
    }

    /// One container, from its beginning to its end.
    pub fn live(&mut self) {
        let life = *self.random.of(&LIVES);
        let id = self.kase.id();
        let caller = if self.kase.is_root() { "root" } else { "user" };
        *self.lives.entry(format!("{caller}: {life:?}")).or_default() += 1;
        let lived = match life {
            Life::Run => self.run(&id),
            Life::Created => self.create(&id),
            Life::Detached => self.detach(&id),
            Life::NeverStarted => self.never_start(&id),
            Life::OnTerminal => self.on_terminal(7, &["run", "-b", dir(&self.bundles.terminal), &id]),
            Life::Refused => self.refused(&id),
        };
        if let Err(what) = lived {
            self.faults.push(format!("{caller}: {life:?}: {what}"));
            drop(self.kase.call(["delete", "--force", &id]));
        }
    }

    /// A command that ends with one of these codes.
    fn call(&self, codes: &[i32], words: &[&str]) -> Result<Outcome, String> {
        let outcome = self.kase.call(words);
        if !codes.contains(&outcome.code) {
            return Err(format!("not {codes:?}: {outcome}"));
        }
        Ok(outcome)
    }

    fn quietly(&self, code: i32, words: &[&str]) -> Lived {
        let outcome = self.call(&[code], words)?;
        if outcome.err.is_empty() { Ok(()) } else { Err(format!("it says something: {outcome}")) }
    }

    fn run(&mut self, id: &str) -> Lived {
        let bundle = self.random.of(&self.bundles.exits);
        self.quietly(7, &["run", "-b", dir(bundle), id])
    }

    fn create(&mut self, id: &str) -> Lived {
        let bundle = self.random.of(&self.bundles.exits);
        self.quietly(0, &["create", "-b", dir(bundle), id])?;
        self.quietly(0, &["start", id])?;
        // Nobody may have seen it end: 254.
        self.call(&[7, 254], &["wait", id])?;
        self.quietly(0, &["delete", id])
    }

    fn never_start(&mut self, id: &str) -> Lived {
        let bundle = self.random.of(&self.bundles.exits);
        self.quietly(0, &["create", "-b", dir(bundle), id])?;
        if self.random.once_in(2) {
            self.quietly(0, &["kill", id, "KILL"])?;
            self.call(&[137, 254], &["wait", id])?;
        }
        self.quietly(0, &["delete", "--force", id])
    }

    fn detach(&mut self, id: &str) -> Lived {
        let bundle = self.random.of(&self.bundles.sleeps);
        self.quietly(0, &["run", "-d", "-b", dir(bundle), id])?;
        while !self.random.once_in(4) {
            match self.random.of(&[0, 1, 2, 3, 4, 5]) {
                0 => self.quietly(5, &["exec", id, "/probe", "exit", "5"])?,
                1 => self.quietly(0, &["exec", "-d", id, "/probe", "sleep", "600000"])?,
                2 => self.exec_on_terminal(id)?,
                3 if self.freezes => {
                    self.quietly(0, &["pause", id])?;
                    self.says("\"paused\"", &["state", id])?;
                    self.quietly(0, &["resume", id])?;
                }
                4 => drop(self.call(&[0], &["ps", id])?),
                _ => self.says("\"running\"", &["state", id])?,
            }
        }
        if self.random.once_in(3) {
            return self.quietly(0, &["delete", "--force", id]);
        }
        self.quietly(0, &["kill", id, "KILL"])?;
        self.call(&[137, 254], &["wait", id])?;
        self.quietly(0, &["delete", id])
    }

    fn says(&self, text: &str, words: &[&str]) -> Lived {
        let outcome = self.call(&[0], words)?;
        if outcome.out.contains(text) { Ok(()) } else { Err(format!("no {text}: {outcome}")) }
    }

    fn exec_on_terminal(&self, id: &str) -> Lived {
        self.on_terminal(5, &["exec", "--tty", id, "/probe", "tty", "--", "exit", "5"])
    }

    /// In a session on a terminal of its own.
    fn on_terminal(&self, code: i32, words: &[&str]) -> Lived {
        let mut terminal = Terminal::new(80, 24);
        let mut child = terminal.spawn(self.kase, words);
        let begun = Instant::now();
        let status = loop {
            match child.try_wait().map_err(|error| error.to_string())? {
                Some(status) => break status,
                None if begun.elapsed() > patience() => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(format!("{words:?} does not end: {}", terminal.bytes()));
                }
                None => std::thread::sleep(std::time::Duration::from_millis(1)),
            }
        };
        match status.code() {
            Some(found) if found == code => Ok(()),
            found => Err(format!("{words:?} on a terminal ends with {found:?}: {}", terminal.bytes())),
        }
    }

    /// What cannot be is an error, and nothing is there of it.
    fn refused(&mut self, id: &str) -> Lived {
        let bundles = self.bundles;
        let (verb, bundle) = *self.random.of(&[
            ("run", &bundles.missing),
            ("create", &bundles.missing),
            ("run", &bundles.failing),
            ("create", &bundles.failing),
        ]);
        let outcome = self.call(&[1], &[verb, "-b", dir(bundle), id])?;
        if !outcome.err.starts_with("kase: ") {
            return Err(format!("no error: {outcome}"));
        }
        let state = self.call(&[1], &["state", id])?;
        if state.err.contains("does not exist") { Ok(()) } else { Err(format!("it is there: {state}")) }
    }
}

fn dir(bundle: &Bundle) -> &str {
    bundle.dir().to_str().unwrap()
}
