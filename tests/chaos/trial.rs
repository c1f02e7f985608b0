//! One command, disturbed at one point after the other.

use super::deeds::{Deed, Subject, status};
use super::points::{self, Action, Point};
use crate::common::{Bundle, Kase, Running, record_skip};
use nix::errno::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

/// A command that takes longer than this waits for ever.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a point that is amiss is met in `make test`, and must be amiss each time: a moment of a busy host's is no
/// reason to fail there. `make test/chaos` counts the first.
const TIMES: usize = 3;

/// Which points are met.
pub enum Bound {
    Number(usize),
    Time(Duration),
    /// One, to repeat it.
    Point(Point),
}

impl Bound {
    /// `KASE_CHAOS_POINT`, an even part of the seconds in `KASE_CHAOS_TIME`, or this number.
    #[expect(clippy::cast_possible_truncation, reason = "no machine has so many processors")]
    pub fn chosen(number: usize, tests: u32) -> Self {
        if let Some(point) = variable("KASE_CHAOS_POINT") {
            return Self::Point(Point::parse(&point).expect("KASE_CHAOS_POINT is PROCESS:CALL:N:ERRNO"));
        }
        let Some(seconds) = variable("KASE_CHAOS_TIME") else { return Self::Number(number) };
        let seconds: u64 = seconds.parse().expect("KASE_CHAOS_TIME is a number of seconds");
        let at_once = std::thread::available_parallelism().map_or(1, |number| number.get() as u32);
        Self::Time(Duration::from_secs(seconds) * at_once.min(tests) / tests)
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

/// What was met, for the figures at the end.
#[derive(Default)]
struct Figures {
    kills: usize,
    failing: usize,
    refused: usize,
    /// What went wrong, and at which points.
    faults: BTreeMap<String, Vec<String>>,
    errors: BTreeSet<String>,
}

/// A command and what it has to come to.
pub struct Trial<'a> {
    kase: &'a Kase,
    deed: Deed,
    name: &'a str,
    bundle: Bundle,
    files: BTreeSet<String>,
}

impl<'a> Trial<'a> {
    pub fn new(kase: &'a Kase, deed: Deed, name: &'a str) -> Self {
        let bundle = deed.bundle(kase);
        Self { kase, deed, name, bundle, files: BTreeSet::new() }
    }

    /// Meets the points; the test fails if anything is amiss after one of them.
    pub fn meet(mut self, bound: &Bound) {
        let Some((recorded, wanted)) = self.record() else {
            return record_skip("this caller cannot do that here");
        };
        self.files = self.files_now();
        let seed = variable("KASE_CHAOS_SEED").map_or(1, |seed| seed.parse().expect("a number"));
        let all = points::all(&recorded, seed);
        let begun = Instant::now();
        let (number, time) = match bound {
            Bound::Number(number) => (*number, Duration::MAX),
            Bound::Time(time) => (all.len(), *time),
            Bound::Point(_) => (1, Duration::MAX),
        };
        let of_all = all.len();
        let chosen = if let Bound::Point(point) = bound { vec![point.clone()] } else { all };
        let (mut figures, mut subject) = (Figures::default(), None);
        for point in chosen.into_iter().take(number).take_while(|_| begun.elapsed() < time) {
            let mut amiss = Vec::new();
            for _ in 0..if matches!(bound, Bound::Number(_)) { TIMES } else { 1 } {
                let used = subject.take().unwrap_or_else(|| self.deed.prepare(self.kase, &self.bundle));
                (subject, amiss) = self.meet_one(&point, used, &wanted, &mut figures);
                if amiss.is_empty() {
                    break;
                }
            }
            for what in amiss {
                figures.faults.entry(what).or_default().push(point.to_string());
            }
        }
        if let Some(subject) = subject {
            self.kase.call(["delete", "--force", &subject.id]).succeeded();
        }
        self.report(&figures, of_all, seed);
    }

    /// The undisturbed command: its calls, and what comes of it. Nothing if it is refused.
    fn record(&self) -> Option<(String, String)> {
        let subject = self.deed.prepare(self.kase, &self.bundle);
        let (command, code) = self.command(&subject, None);
        let wanted =
            (code == Some(self.deed.code())).then(|| self.deed.result(self.kase, &subject, &command));
        self.kase.call(["delete", "--force", &subject.id]).succeeded();
        let wanted = wanted?.unwrap_or_else(|why| panic!("{}: {why}", self.name));
        Some((fs::read_to_string(self.kase.path("calls")).unwrap(), wanted))
    }

    fn command(&self, subject: &Subject, point: Option<&Point>) -> (Running, Option<i32>) {
        let words = self.kase.command(self.deed.words(&self.bundle, &subject.id));
        let init = self.deed.init(self.kase, subject).map(|pid| format!("attach={pid}"));
        let options: Vec<String> = point.map(Point::option).into_iter().chain(init).collect();
        let mut command = self.kase.spawn(self.kase.injected(&self.kase.path("calls"), &options, &words));
        let code = command.ends_within(PATIENCE);
        (command, code)
    }

    /// Gives back the container if it serves for the next point too, and what is amiss.
    fn meet_one(
        &self,
        point: &Point,
        subject: Subject,
        wanted: &str,
        figures: &mut Figures,
    ) -> (Option<Subject>, Vec<String>) {
        match point.action {
            Action::Kill => figures.kills += 1,
            Action::Fail(_) => figures.failing += 1,
        }
        let (mut command, code) = self.command(&subject, Some(point));
        let mut amiss = Vec::new();
        match code {
            None => {
                amiss.push(format!("does not end: {:#?}", self.kase.processes()));
                command.child.kill().unwrap();
                command.child.wait().unwrap();
            }
            Some(137) if point.kills_kase() => {}
            // What it waited for was killed.
            Some(137) if point.action == Action::Kill && self.deed.code() == 7 => {}
            // It is the container's end, before its program or in it.
            Some(0)
                if point.action == Action::Kill && self.deed.executor() == Some(point.process.as_str()) => {}
            // It was ready by then, and waited for its start.
            Some(0) if self.deed == Deed::Create && point.kills_init() && self.is_stopped(&subject) => {}
            Some(code) if code == self.deed.code() => match self.deed.result(self.kase, &subject, &command) {
                Ok(seen) if seen == wanted => amiss.extend(self.left_untold(&subject, &command)),
                Ok(seen) if point.refuses_a_mount() && has_the_hosts_sysfs(wanted, &seen) => {}
                Ok(seen) => amiss.push(format!("succeeds, but: {}", difference(wanted, &seen))),
                Err(why) => amiss.push(format!("succeeds, but {why}")),
            },
            Some(code) => {
                figures.refused += 1;
                amiss.extend(self.failed(point, &subject, &command, code, figures));
            }
        }
        let subject = self.afterwards(point, subject, &mut amiss);
        let met = fs::read_to_string(self.kase.path("calls")).unwrap();
        if met.is_empty() {
            amiss.iter_mut().for_each(|what| what.push_str(" (the point was not met)"));
        }
        (subject, amiss)
    }

    fn is_stopped(&self, subject: &Subject) -> bool {
        status(self.kase, &subject.id) == "stopped"
    }

    /// What `run` has left of the container that has ended, and not told.
    fn left_untold(&self, subject: &Subject, command: &Running) -> Option<String> {
        if self.deed != Deed::Run || command.outcome(7).err.contains("which has ended") {
            return None;
        }
        let left = self.kase.leftovers();
        (!left.is_empty()).then(|| format!("leaves {} and does not tell", masked(&left, &subject.id)))
    }

    /// What is wrong with a command that failed.
    fn failed(
        &self,
        point: &Point,
        subject: &Subject,
        command: &Running,
        code: i32,
        figures: &mut Figures,
    ) -> Vec<String> {
        let outcome = command.outcome(code);
        let mut amiss = Vec::new();
        let err = outcome.err.replace(&subject.id, "ID");
        if !self.deed.failures().contains(&code) {
            amiss.push(format!("ends with {code}: {err}"));
        }
        let lines: Vec<&str> = err.lines().filter(|line| !line.starts_with("  help: ")).collect();
        figures.errors.insert(format!("{}\n    at {} {point}", err.trim_end(), self.name));
        match lines.as_slice() {
            [.., fault] if fault.starts_with("kase: ") && lines.len() <= 2 => {
                if !self.deed.makes() && fault.contains("does not exist") {
                    amiss.push(format!("a failed look is taken for an answer: {err}"));
                }
            }
            _ => amiss.push(format!("does not say what failed in one line: {err}")),
        }
        if point.action == Action::Fail(Errno::EINTR) {
            amiss.push(format!("an interrupted call is not repeated: {err}"));
        }
        let left = status(self.kase, &subject.id);
        if !self.deed.may_leave().contains(&left.as_str()) {
            amiss.push(format!("has failed, and the container is {left}: {err}"));
        }
        if self.deed.makes() {
            let left = self.kase.leftovers();
            if !left.is_empty() {
                amiss.push(format!("has failed and leaves {}: {err}", masked(&left, &subject.id)));
            }
        }
        amiss
    }

    /// The container can be cleared away, and nothing is left of it then.
    fn afterwards(&self, point: &Point, subject: Subject, amiss: &mut Vec<String>) -> Option<Subject> {
        let id = &subject.id;
        if self.deed.only_uses()
            && amiss.is_empty()
            && !point.kills_kase()
            && status(self.kase, id) == "running"
        {
            return Some(subject);
        }
        if self.deed.makes() && point.kills_kase() {
            let cleared = self.kase.call(["gc"]);
            if cleared.code != 0 {
                amiss.push(format!("gc: {}{}", cleared.out, cleared.err));
            }
        }
        let deleted = self.kase.call(["delete", "--force", id]);
        if deleted.code != 0 || !deleted.err.is_empty() {
            amiss.push(format!(
                "delete --force ends with {}: {}",
                deleted.code,
                deleted.err.replace(id, "ID")
            ));
        }
        let left = self.kase.leftovers();
        if !left.is_empty() {
            amiss.push(format!("after delete --force there is {}", masked(&left, id)));
            self.kase.clear();
            let _ = fs::remove_dir_all(self.kase.state_dir().join(id));
        }
        let new: Vec<String> = self.files_now().difference(&self.files).cloned().collect();
        for file in new {
            fs::remove_file(self.kase.path(&file)).unwrap();
            // It is written before the last thing that can fail, and every later create replaces it.
            if file != "pid" {
                amiss.push(format!(
                    "there is a file {}",
                    file.trim_end_matches(|last: char| last.is_ascii_digit())
                ));
            }
        }
        None
    }

    /// The names in the test's directory, but those of outputs.
    fn files_now(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.kase.path("")).unwrap().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| !name.starts_with("out-") && !name.starts_with("err-")).collect()
    }

    fn report(&self, figures: &Figures, all: usize, seed: usize) {
        let Figures { kills, failing, refused, faults, errors } = figures;
        let amiss: usize = faults.values().map(Vec::len).sum();
        let mut text = format!(
            "{}: {kills} kills and {failing} failing calls of {all} points (seed {seed}), \
             {refused} ended with an error, {amiss} amiss\n",
            self.name
        );
        for (what, points) in faults {
            text += &format!("  {}\n    at {}\n", what.trim_end(), points.join(", "));
        }
        tell(&text);
        if let Some(path) = std::env::var_os("KASE_CHAOS_ERRORS") {
            append(path.as_ref(), &errors.iter().fold(String::new(), |all, error| all + error + "\n"));
        }
        assert!(faults.is_empty(), "{text}");
    }
}

/// Writes to the report that `make test/chaos` shows.
pub fn tell(text: &str) {
    if let Some(path) = std::env::var_os("KASE_CHAOS_REPORT") {
        append(path.as_ref(), text);
    }
}

fn append(path: &std::path::Path, text: &str) {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn masked(left: &[String], id: &str) -> String {
    left.join("; ").replace(id, "ID")
}

/// A new sysfs is refused, so that the host's is there, read-only with all that is mounted in it; else they are the same.
fn has_the_hosts_sysfs(wanted: &str, seen: &str) -> bool {
    let (gone, new) = different(wanted, seen);
    let is_read_only = |line: &&str| match line.split(' ').collect::<Vec<_>>().as_slice() {
        [_, point, options, ..] => point.starts_with("/sys") && options.starts_with("ro,"),
        _ => false,
    };
    gone.iter().all(|line| line.starts_with("/ /sys ")) && new.iter().all(is_read_only)
}

/// The lines that are not the same.
fn difference(wanted: &str, seen: &str) -> String {
    let (gone, new) = different(wanted, seen);
    let gone = gone.iter().map(|line| format!("\n      - {line}"));
    gone.chain(new.iter().map(|line| format!("\n      + {line}"))).collect()
}

/// The lines of one that the other does not have, and the reverse.
fn different<'a>(wanted: &'a str, seen: &'a str) -> (Vec<&'a str>, Vec<&'a str>) {
    let (wanted, seen): (Vec<&str>, Vec<&str>) = (wanted.lines().collect(), seen.lines().collect());
    let gone = wanted.iter().filter(|line| !seen.contains(line)).copied().collect();
    (gone, seen.iter().filter(|line| !wanted.contains(line)).copied().collect())
}
