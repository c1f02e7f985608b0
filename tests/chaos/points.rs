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

/// One of them, at the n-th call of a process.
#[derive(Clone, Debug)]
pub struct Point {
    pub process: String,
    call: u32,
    pub action: Action,
    /// The call's name when it was recorded.
    pub name: String,
}

impl Point {
    /// What is written for it on the command line of `make test/chaos`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(':');
        let (process, call, action) = (words.next()?.to_owned(), words.next()?.parse().ok()?, words.next()?);
        let action = match action {
            "KILL" => Action::Kill,
            name => Action::Fail((1..200).map(Errno::from_raw).find(|errno| format!("{errno:?}") == name)?),
        };
        Some(Self { process, call, action, name: "given".into() })
    }

    /// As the tool takes it.
    pub fn option(&self) -> String {
        let action = match self.action {
            Action::Kill => "kill".to_owned(),
            Action::Fail(errno) => (errno as i32).to_string(),
        };
        format!("at={}:{}:{action}", self.process, self.call)
    }

    /// kase itself is killed, so that nobody is left to say anything.
    pub fn kills_kase(&self) -> bool {
        self.action == Action::Kill && self.process == "1"
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = match self.action {
            Action::Kill => "KILL".to_owned(),
            Action::Fail(errno) => format!("{errno:?}"),
        };
        write!(f, "{}:{}:{action}", self.process, self.call)
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
    let (process, call, number) = (words.next()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let (name, errnos) = errnos::of(number);
    // A helper is not ours: that it fails is enough.
    let errnos = match words.next() {
        None | Some("") => errnos,
        Some(_) => errnos.get(1..2).unwrap_or_default(),
    };
    let actions =
        [Action::Kill].into_iter().chain(errnos.iter().map(|errno| Action::Fail(Errno::from_raw(*errno))));
    let point = |action| Point { process: process.to_owned(), call, action, name: name.clone() };
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
