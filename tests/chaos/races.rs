//! Every two commands on one id at once, in every state that it may be in.
//!
//! What each command does alone is looked at first. Of two at once, those that succeed must have done what they do one
//! after the other, in one of the two orders, so that of two that exclude each other one wins; where both succeed
//! alone, one of them must; and whoever fails says why in one line.

use super::deeds::status;
use super::trial::Bound;
use crate::common::{Bundle, Kase, Outcome, patience, record_skip};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const STATES: [&str; 6] = ["none", "created", "running", "paused", "stopped", PAUSED_EARLY];
/// Paused before its start, so that the resumption leads back to that.
const PAUSED_EARLY: &str = "paused early";
const COMMANDS: [&str; 12] = [
    "create",
    "run -d",
    "start",
    "exec -d",
    "kill KILL",
    "pause",
    "resume",
    "delete",
    "delete --force",
    "state",
    "gc",
    "update",
];
/// Between the two there is up to this much time, in microseconds.
const APART: u64 = 6000;

/// The state after a command has succeeded in one; none where it fails.
type Alone = BTreeMap<(&'static str, &'static str), Option<&'static str>>;

pub struct Races<'a> {
    kase: &'a Kase,
    bundle: Bundle,
    alone: Alone,
}

impl<'a> Races<'a> {
    pub fn new(kase: &'a Kase) -> Self {
        let bundle = kase.bundle().args(["/probe", "sleep"]);
        let mut races = Self { kase, bundle, alone: Alone::new() };
        for before in STATES {
            for command in COMMANDS {
                let Some(id) = races.prepare(before) else { continue };
                let outcome = kase.finish(races.command(command, &id));
                let after = (outcome.code == 0).then(|| races.settled(before, command, &id));
                races.alone.insert((before, command), after);
                races.clear(&id);
            }
        }
        races
    }

    /// Runs races until the bound, and fails if anything was amiss.
    pub fn run(&self, bound: &Bound) {
        let begun = Instant::now();
        let pairs: Vec<(&str, &str, &str)> = STATES
            .into_iter()
            .filter(|before| self.alone.contains_key(&(*before, "state")))
            .flat_map(|before| {
                let second = |(index, first)| COMMANDS[index..].iter().map(move |second| (first, *second));
                COMMANDS
                    .into_iter()
                    .enumerate()
                    .flat_map(second)
                    .map(move |(first, second)| (before, first, second))
            })
            .filter(|(before, first, second)| self.is_contest(before, first, second))
            .collect();
        let (number, time) = match bound {
            Bound::Number(number) => (*number, Duration::MAX),
            Bound::Time(time) => (usize::MAX, *time),
            Bound::Point(_) => return record_skip("a point is repeated"),
        };
        let (mut rounds, mut faults) = (0_usize, BTreeMap::<String, usize>::new());
        while rounds < number && begun.elapsed() < time {
            // Each beginning is spread evenly over all.
            let (before, first, second) = pairs[(rounds * 619) % pairs.len()];
            for amiss in self.race(before, [first, second], rounds as u64) {
                *faults.entry(format!("{before}: {first}, {second}: {amiss}")).or_default() += 1;
            }
            rounds += 1;
        }
        super::trial::tell(&format!("{rounds} raced rounds, {} amiss\n", faults.values().sum::<usize>()));
        assert!(faults.is_empty(), "{rounds} rounds: {faults:#?}");
    }

    /// At least one of them does something there, alone or after the other. What waits for a process that `pause` freezes
    /// meanwhile waits until it is resumed, as with runc: that is not to be judged by its end.
    fn is_contest(&self, before: &str, first: &str, second: &str) -> bool {
        let waits = |command: &str| ["start", "exec -d", "run -d", "create"].contains(&command);
        if first == "pause" && waits(second) || second == "pause" && waits(first) {
            return false;
        }
        let changes = |command: &str| {
            self.alone.iter().any(|((state, name), after)| {
                *state == before && *name == command && after.is_some_and(|after| after != before)
            })
        };
        changes(first) || changes(second)
    }

    /// A container in this state; none where it cannot be had.
    fn prepare(&self, state: &str) -> Option<String> {
        let id = self.kase.id();
        let makes: &[&str] = match state {
            "none" => &[],
            "created" => &["create"],
            "paused" => &["run -d", "pause"],
            PAUSED_EARLY => &["create", "pause"],
            "stopped" => &["run -d", "kill KILL"],
            _ => &["run -d"],
        };
        for command in makes {
            let outcome = self.kase.finish(self.command(command, &id));
            if outcome.code != 0 {
                assert_eq!(*command, "pause", "{outcome}");
                self.clear(&id);
                return None;
            }
        }
        if state == "stopped" {
            self.becomes(&id, &BTreeSet::from(["stopped"])).unwrap();
        }
        Some(id)
    }

    fn command(&self, command: &str, id: &str) -> std::process::Command {
        let mut words: Vec<&str> = command.split(' ').collect();
        let operands = words.split_off(1);
        let bundle = self.bundle.dir().to_str().unwrap();
        match words[0] {
            "gc" => {}
            "create" | "run" => words.extend(operands.iter().chain(&["-b", bundle, id])),
            "exec" => words.extend(operands.iter().chain(&[id, "/true"])),
            "kill" => words.extend([id].iter().chain(&operands)),
            "update" => words.extend(["--pids-limit", "100", id]),
            _ => words.extend(operands.iter().chain(&[id])),
        }
        self.kase.command(words)
    }

    /// What a command that has succeeded leads to.
    fn settled(&self, before: &str, command: &str, id: &str) -> &'static str {
        if command.starts_with("kill") {
            self.becomes(id, &BTreeSet::from(["stopped"])).unwrap();
            return "stopped";
        }
        let is_early = ["created", PAUSED_EARLY].contains(&before);
        match status(self.kase, id).as_str() {
            "paused" if is_early => PAUSED_EARLY,
            seen => STATES.into_iter().find(|state| *state == seen).expect("a known state"),
        }
    }

    /// The first of these states that it comes to, or the one that it stays in.
    fn becomes(&self, id: &str, wanted: &BTreeSet<&str>) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let seen = status(self.kase, id);
            if wanted.contains(seen.as_str()) || seen == "paused" && wanted.contains(PAUSED_EARLY) {
                return Ok(());
            }
            if begun.elapsed() > patience() / 2 {
                return Err(seen);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn clear(&self, id: &str) -> Vec<String> {
        let outcome = self.kase.call(["delete", "--force", id]);
        let mut amiss = Vec::new();
        if outcome.code != 0 {
            amiss.push(format!("delete --force fails: {}", masked(&outcome, id)));
        }
        let left = self.kase.leftovers();
        if !left.is_empty() {
            amiss.push(format!("left behind: {}", left.join("; ").replace(id, "ID")));
            self.kase.clear();
        }
        amiss
    }

    /// What is amiss after both.
    fn race(&self, before: &str, commands: [&'static str; 2], round: u64) -> Vec<String> {
        let Some(id) = self.prepare(before) else { return vec!["it is not to be had any more".into()] };
        let turned = round % 2 == 1;
        let order = if turned { [commands[1], commands[0]] } else { commands };
        let first = self.kase.spawn(self.command(order[0], &id));
        std::thread::sleep(Duration::from_micros(round * 997 % APART));
        let second = self.kase.spawn(self.command(order[1], &id));
        let ends = [first.finish(), second.finish()];
        let mut amiss = Vec::new();
        for (command, end) in order.into_iter().zip(&ends) {
            amiss.extend(told(command, end).map(|why| format!("{command}: {why}: {}", masked(end, &id))));
        }
        let won: Vec<&str> =
            order.into_iter().zip(&ends).filter(|(_, end)| end.code == 0).map(|(name, _)| name).collect();
        let wanted = self.possible(before, &won);
        let told = || format!("{}{}", masked(&ends[0], &id), masked(&ends[1], &id));
        if wanted.is_empty() {
            amiss.push(format!("{won:?} cannot succeed: {}", told()));
        } else if let Err(seen) = self.becomes(&id, &wanted) {
            amiss.push(format!("{won:?} succeed, and it is {seen}, not {wanted:?}: {}", told()));
        }
        let both = commands.iter().all(|command| self.after(before, command).is_some());
        if won.is_empty() && both {
            amiss.push(format!("both fail: {}", told()));
        }
        amiss.extend(self.clear(&id));
        amiss
    }

    fn after(&self, before: &str, command: &str) -> Option<&'static str> {
        let found = self.alone.iter().find(|((state, name), _)| *state == before && *name == command);
        found.and_then(|(_, after)| *after)
    }

    /// The states that these, one after the other, lead to.
    fn possible(&self, before: &str, won: &[&str]) -> BTreeSet<&'static str> {
        let before = STATES.into_iter().find(|state| *state == before).expect("a known state");
        // As with runc and crun, it reaches a container that is being created, which then comes to nothing.
        if before == "none" && matches!(won, [kill] if kill.starts_with("kill")) {
            return BTreeSet::from(["none"]);
        }
        // Who is killed takes a moment to end, and can be killed once more.
        if let [first, second] = won
            && first == second
            && first.starts_with("kill")
        {
            return self.possible(before, &won[1..]);
        }
        let orders = [won.to_vec(), won.iter().rev().copied().collect()];
        let end =
            |order: &Vec<&str>| order.iter().try_fold(before, |state, command| self.after(state, command));
        orders.iter().filter_map(end).collect()
    }
}

/// What is wrong with how a command ended.
fn told(command: &str, end: &Outcome) -> Option<&'static str> {
    let failure = if command.starts_with("exec") { [255, 1] } else { [1, 1] };
    let lines =
        end.err.lines().filter(|line| !line.starts_with("  help: ") && !line.contains("warning: ")).count();
    match end.code {
        0 => None,
        code if !failure.contains(&code) => Some("a wrong code"),
        _ if lines != 1 || !end.err.contains("kase: ") => Some("not one line of error"),
        _ => None,
    }
}

fn masked(end: &Outcome, id: &str) -> String {
    format!("[{}] {}", end.code, end.err.replace(id, "ID"))
}
