//! The commands that are disturbed: what has to be there before, and what has come of one that says it succeeded.

use crate::common::{Bundle, Kase, Outcome, Running, Value, json, wait_until};
use std::time::Duration;

/// A command of kase's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    Create,
    Start,
    Run,
    RunDetached,
    Exec,
    ExecDetached,
    Kill,
    State,
    List,
    Pause,
    Resume,
    Delete,
    DeleteForce,
}

/// The container that it is about.
pub struct Subject {
    pub id: String,
    /// Who made it: what the container prints comes to its output.
    creator: Option<Running>,
}

/// The last thing that the payload prints.
const END: &str = "\nEND\n";
/// What it prints before: all that it sees.
const SEES: &[&str] = &["/probe", "all", "--", "args", "", "END", "--", "exit", "7"];

impl Deed {
    /// The process whose end, once it was told to go on, is the payload's and no failure of the command's.
    pub fn executor(self) -> Option<&'static str> {
        match self {
            Self::ExecDetached => Some("1.1.1"),
            Self::RunDetached => Some("1.1"),
            Self::Start => Some("init"),
            _ => None,
        }
    }

    /// A config with something of everything.
    pub fn bundle(self, kase: &Kase) -> Bundle {
        let bundle = kase.bundle().edit(|spec| {
            spec["process"]["args"] =
                if self.looks_from_within() { json!(SEES) } else { json!(["/probe", "sleep"]) };
            spec["process"]["oomScoreAdj"] = json!(100);
            spec["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]);
            spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "cgroup"}));
            spec["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
            spec["linux"]["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 55}],
            });
        });
        let bundle = match kase.is_root() {
            true => bundle.edit(|spec| spec["linux"]["resources"]["pids"] = json!({"limit": 50})),
            false => bundle,
        };
        let tmpfs =
            json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m"]});
        let bind = json!({"destination": "/etc", "source": bundle.rootfs("mnt"), "options": ["bind", "ro"]});
        let cgroup =
            json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]});
        bundle.mount(tmpfs).mount(bind).mount(cgroup)
    }

    /// The container itself says what it is like.
    fn looks_from_within(self) -> bool {
        matches!(self, Self::Create | Self::Start | Self::Run | Self::RunDetached | Self::Delete)
    }

    /// It makes the container.
    pub fn makes(self) -> bool {
        matches!(self, Self::Create | Self::Run | Self::RunDetached)
    }

    /// The container is the same after it, so that one serves for all points.
    pub fn only_uses(self) -> bool {
        matches!(self, Self::Exec | Self::ExecDetached | Self::State | Self::List)
    }

    /// What it ends with when nothing fails: the payload's own code where it waits for that.
    pub fn code(self) -> i32 {
        if matches!(self, Self::Run | Self::Exec) { 7 } else { 0 }
    }

    /// What it may end with when something fails: of `exec` a code that seldom is the program's, as runc has it, but
    /// not where kase seals its own binary, before it knows what it is asked for.
    pub fn failures(self) -> &'static [i32] {
        if matches!(self, Self::Exec | Self::ExecDetached) { &[255, 1] } else { &[1] }
    }

    /// What has to be there before.
    pub fn prepare(self, kase: &Kase, bundle: &Bundle) -> Subject {
        let subject = Subject { id: kase.id(), creator: None };
        let made = match self {
            Self::Create | Self::Run | Self::RunDetached => return subject,
            Self::Start => vec!["create"],
            _ => vec!["run", "-d"],
        };
        let words = made.into_iter().chain(["-b", bundle.dir().to_str().unwrap(), subject.id.as_str()]);
        let mut creator = kase.spawn(kase.command(words));
        let code = creator.ends_within(crate::common::patience());
        assert_eq!(code, Some(0), "{}", creator.outcome(-1));
        match self {
            Self::Delete => wait_until("its end", || status(kase, &subject.id) == "stopped"),
            // Where that cannot be, neither can the command.
            Self::Resume => drop(kase.call(["pause", &subject.id])),
            _ => {}
        }
        Subject { creator: Some(creator), ..subject }
    }

    /// Who is not the command's child and does half of its work.
    pub fn init(self, kase: &Kase, subject: &Subject) -> Option<i64> {
        let state = (self == Self::Start).then(|| kase.call(["state", &subject.id]))?;
        serde_json::from_str::<Value>(state.stdout()).unwrap()["pid"].as_i64()
    }

    /// Its command line.
    pub fn words<'a>(self, bundle: &'a Bundle, id: &'a str) -> Vec<&'a str> {
        let dir = bundle.dir().to_str().unwrap();
        let sees = SEES.iter().copied();
        match self {
            Self::Create => vec!["create", "--pid-file", "pid", "-b", dir, id],
            Self::Start => vec!["start", id],
            Self::Run => vec!["run", "-b", dir, id],
            Self::RunDetached => vec!["run", "-d", "-b", dir, id],
            Self::Exec => ["exec", id].into_iter().chain(sees).collect(),
            Self::ExecDetached => ["exec", "-d", id].into_iter().chain(sees).collect(),
            Self::Kill => vec!["kill", id, "KILL"],
            Self::State => vec!["state", id],
            Self::List => vec!["list"],
            Self::Pause => vec!["pause", id],
            Self::Resume => vec!["resume", id],
            Self::Delete => vec!["delete", id],
            Self::DeleteForce => vec!["delete", "--force", id],
        }
    }

    /// What has come of it, for comparison with the same undisturbed.
    pub fn result(self, kase: &Kase, subject: &Subject, command: &Running) -> Result<String, String> {
        let id = subject.id.as_str();
        let seen = match self {
            Self::Create => {
                let created = status(kase, id);
                let started = kase.call(["start", id]);
                if started.code != 0 {
                    return Err(format!("created, and then start: {started}"));
                }
                created + &printed(command)?
            }
            Self::Start => printed(subject.creator.as_ref().unwrap())?,
            Self::Run | Self::RunDetached | Self::ExecDetached | Self::Exec => printed(command)?,
            Self::Kill => reached(kase, id, "stopped")?,
            Self::Pause => reached(kase, id, "paused")?,
            Self::Resume => reached(kase, id, "running")?,
            Self::State | Self::List => command.stdout(),
            Self::Delete | Self::DeleteForce => kase.leftovers().join("\n"),
        };
        Ok(comparable(&seen.replace(id, "ID")))
    }

    /// What the container may be like after the command has failed.
    pub fn may_leave(self) -> &'static [&'static str] {
        match self {
            Self::Create | Self::Run | Self::RunDetached => &["none"],
            Self::Start => &["created", "none", "running", "stopped"],
            Self::Exec | Self::ExecDetached | Self::State | Self::List => &["running"],
            Self::Pause | Self::Resume => &["running", "paused"],
            Self::Kill => &["running", "stopped"],
            Self::Delete => &["stopped", "none"],
            Self::DeleteForce => &["running", "stopped", "none"],
        }
    }
}

/// The lines without what no two containers share: numbers of namespaces, mounts, devices and processes, times; and
/// without the owner, who is a number where /etc/passwd cannot be read.
fn comparable(seen: &str) -> String {
    let mut lines: Vec<String> = seen.lines().map(without_numbers).collect();
    lines.sort();
    lines.join("\n")
}

fn without_numbers(line: &str) -> String {
    let is_number = |word: &str| word.parse::<u32>().is_ok();
    match line.split_whitespace().collect::<Vec<_>>().as_slice() {
        [.., last] if last.ends_with(']') => line.split('[').next().unwrap_or_default().to_owned(),
        // A line of mountinfo: two numbers and a device.
        [id, parent, _, rest @ ..] if is_number(id) && is_number(parent) => rest.join(" "),
        ["ID", _, status, bundle, ..] => format!("{status} {bundle}"),
        ["ID", "PID", ..] => String::new(),
        [name, _] if ["\"pid\":", "\"created\":", "\"owner\":"].contains(name) => (*name).to_owned(),
        _ => line.to_owned(),
    }
}

/// All that a container prints, as soon as it has.
fn printed(by: &Running) -> Result<String, String> {
    for _ in 0..10_000 {
        let text = by.stdout();
        if text.ends_with(END) {
            return Ok(text);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Err(format!("the container does not print what it sees: {}", by.stdout()))
}

fn reached(kase: &Kase, id: &str, wanted: &str) -> Result<String, String> {
    for _ in 0..5000 {
        if status(kase, id) == wanted {
            return Ok(wanted.to_owned());
        }
        std::thread::sleep(Duration::from_millis(4));
    }
    Err(format!("it is {}", status(kase, id)))
}

/// Its status, `none` if there is no such container, or what `state` says instead.
pub fn status(kase: &Kase, id: &str) -> String {
    let Outcome { code, out, err, .. } = kase.call(["state", id]);
    let status = out.split("\"status\": \"").nth(1).and_then(|rest| rest.split('"').next());
    match status {
        Some(status) if code == 0 => status.to_owned(),
        _ if code == 1 && err.contains("does not exist") => "none".to_owned(),
        _ => format!("state ends with {code}: {out}{err}"),
    }
}
