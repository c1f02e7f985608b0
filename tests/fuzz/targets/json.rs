//! Changes JSON as JSON: a changed byte breaks it mostly, and nothing behind the parser is reached.

use crate::config::FIELDS;
use serde_json::{Map, Value, json};

/// Numbers of which one follows from the other; splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % bound.max(1) as u64) as usize
    }

    fn of<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// The text with some values changed; nothing if it is no JSON.
pub fn mutate(text: &[u8], seed: u32) -> Option<Vec<u8>> {
    let mut whole: Value = serde_json::from_slice(text).ok()?;
    let mut random = Random(seed.into());
    for _ in 0..=random.below(4) {
        let donor = at(&mut whole, &mut random).clone();
        let place = at(&mut whole, &mut random);
        change(place, donor, &mut random);
    }
    serde_json::to_vec(&whole).ok()
}

/// Some value in it, however deep.
fn at<'a>(value: &'a mut Value, random: &mut Random) -> &'a mut Value {
    let count = match &*value {
        Value::Array(elements) => elements.len(),
        Value::Object(fields) => fields.len(),
        _ => 0,
    };
    if count == 0 || random.below(8) == 0 {
        return value;
    }
    let index = random.below(count);
    match value {
        Value::Array(elements) => at(&mut elements[index], random),
        Value::Object(fields) => at(fields.values_mut().nth(index).expect("there are as many"), random),
        _ => unreachable!("it has no elements"),
    }
}

fn change(value: &mut Value, donor: Value, random: &mut Random) {
    match (random.below(6), value) {
        (0, Value::Object(fields)) => {
            let name = fields.keys().nth(random.below(fields.len())).cloned();
            name.and_then(|name| fields.remove(&name));
        }
        (1 | 2, Value::Object(fields)) => {
            let value = if random.below(2) == 0 { donor } else { new(random) };
            fields.insert(name(random), value);
        }
        (0, Value::Array(elements)) if !elements.is_empty() => {
            elements.remove(random.below(elements.len()));
        }
        (1, Value::Array(elements)) if !elements.is_empty() => {
            let repeated = random.of(elements).clone();
            elements.push(repeated);
        }
        (2, Value::Array(elements)) => elements.push(new(random)),
        (0..=2, Value::String(text)) => *text = near(text, random),
        (3, value) => *value = donor,
        (_, value) => *value = new(random),
    }
}

fn name(random: &mut Random) -> String {
    let names: Vec<&str> = FIELDS.split([' ', '{', '}', '*']).filter(|name| !name.is_empty()).collect();
    (*random.of(&names)).to_string()
}

/// A string that is a little different.
fn near(text: &str, random: &mut Random) -> String {
    let (at, _) = text.char_indices().nth(random.below(text.chars().count())).unwrap_or_default();
    let (before, after) = text.split_at(at);
    let skipped = after.chars().next().map_or(0, char::len_utf8);
    match random.below(5) {
        0 => before.to_string(),
        1 => format!("{before}{}", &after[skipped..]),
        2 => format!("{before}{}{after}", random.of(&WORDS)),
        3 => format!("{text}{}", random.of(&WORDS)),
        _ => text.to_uppercase(),
    }
}

fn new(random: &mut Random) -> Value {
    match random.below(8) {
        0 => Value::Null,
        1 => Value::Bool(random.below(2) == 0),
        2 => Value::Array(Vec::new()),
        3 => Value::Object(Map::new()),
        4 | 5 => random.of(&NUMBERS).map_or(json!(u64::MAX), |number| json!(number)),
        6 => Value::String(name(random)),
        _ => Value::String((*random.of(&WORDS)).to_string()),
    }
}

/// Numbers at the edge of what is allowed somewhere. None is one that no i64 holds.
const NUMBERS: [Option<i64>; 22] = [
    None,
    Some(0),
    Some(1),
    Some(2),
    Some(-1),
    Some(-2),
    Some(7),
    Some(10),
    Some(100),
    Some(999),
    Some(1000),
    Some(1001),
    Some(0o777),
    Some(4095),
    Some(10_000),
    Some(65_535),
    Some(262_144),
    Some(i32::MAX as i64),
    Some(i32::MIN as i64),
    Some(u32::MAX as i64),
    Some(i64::MAX),
    Some(i64::MIN),
];

/// Words that mean something somewhere.
const WORDS: [&str; 64] = [
    "",
    "/",
    "..",
    "../..",
    "/proc",
    "/proc/self",
    "/sys",
    "/sys/fs/cgroup",
    "/dev",
    "/dev/pts",
    "/dev/null",
    "\u{0}",
    "\n",
    " ",
    ":",
    ",",
    "=",
    "-",
    ".",
    "é",
    "%s",
    "max",
    "all",
    "a",
    "b",
    "c",
    "p",
    "r",
    "rw",
    "ro",
    "rwm",
    "bind",
    "rbind",
    "rro",
    "idmap",
    "ridmap",
    "tmpcopyup",
    "remount",
    "tmpfs",
    "proc",
    "sysfs",
    "devpts",
    "mqueue",
    "cgroup",
    "cgroup2",
    "overlay",
    "none",
    "user",
    "pid",
    "mount",
    "network",
    "time",
    "0-3",
    "3-1",
    "0",
    "-1",
    "4294967296",
    "1.3.0",
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_NOTIFY",
    "SCMP_ARCH_X86_64",
    "system.slice:kase:web",
    "uint64 7",
    "['a', 'b']",
];
