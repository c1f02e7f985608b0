//! The points of a command: each system call of each of its processes, and what may be done at it.

use super::errnos;
use nix::errno::Errno;
use std::fmt;

/// A process is killed as it enters a call, or the call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Kill,
    Fail(Errno),
}

/// One of them, at the n-th call with this number of a process.
#[derive(Clone, Debug)]
pub struct Point {
    pub process: String,
    number: i64,
    nth: u32,
    pub action: Action,
}

impl Point {
    /// What is written for it on the command line of `make test/chaos`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(':');
        let process = words.next()?.to_owned();
        let (number, nth) = (errnos::number(words.next()?)?, words.next()?.parse().ok()?);
        let action = match words.next()? {
            "KILL" => Action::Kill,
            name => Action::Fail((1..200).map(Errno::from_raw).find(|errno| format!("{errno:?}") == name)?),
        };
        Some(Self { process, number, nth, action })
    }

    /// As the tool takes it.
    pub fn option(&self) -> String {
        let action = match self.action {
            Action::Kill => "kill".to_owned(),
            Action::Fail(errno) => (errno as i32).to_string(),
        };
        format!("at={}:{}:{}:{action}", self.process, self.number, self.nth)
    }

    /// kase itself is killed, so that nobody is left to say anything.
    pub fn kills_kase(&self) -> bool {
        self.action == Action::Kill && self.process == "1"
    }

    /// The container's init is killed.
    pub fn kills_init(&self) -> bool {
        self.action == Action::Kill && self.process == "1.1"
    }

    /// As the kernel does in a user namespace, or a security module.
    pub fn refuses_a_mount(&self) -> bool {
        self.number == libc::SYS_mount && matches!(self.action, Action::Fail(Errno::EPERM | Errno::EACCES))
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = match self.action {
            Action::Kill => "KILL".to_owned(),
            Action::Fail(errno) => format!("{errno:?}"),
        };
        write!(f, "{}:{}:{}:{action}", self.process, errnos::of(self.number).0, self.nth)
    }
}

/// Every point of what was recorded, in an order in which each beginning is spread evenly over all.
pub fn all(recorded: &str, seed: usize) -> Vec<Point> {
    let points: Vec<Point> = recorded.lines().filter_map(of_call).flatten().collect();
    let step = coprime_near_golden(points.len());
    (0..points.len()).map(|index| points[(seed + index * step) % points.len()].clone()).collect()
}

fn of_call(line: &str) -> Option<Vec<Point>> {
    let mut words = line.split(' ');
    let (process, number, nth) = (words.next()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let errnos = errnos::of(number).1;
    // A helper is not ours: that it fails is enough.
    let errnos = match words.next() {
        None | Some("") => errnos,
        Some(_) => errnos.get(1..2).unwrap_or_default(),
    };
    let actions =
        [Action::Kill].into_iter().chain(errnos.iter().map(|errno| Action::Fail(Errno::from_raw(*errno))));
    let point = |action| Point { process: process.to_owned(), number, nth, action };
    Some(actions.map(point).collect())
}

/// Steps of the golden section leave no wide gap anywhere; without a common divisor they meet all.
fn coprime_near_golden(count: usize) -> usize {
    let near = (count * 618 / 1000).max(1);
    (near..).find(|step| divisor(*step, count) == 1).unwrap_or(1)
}

fn divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { divisor(b, a % b) }
}
