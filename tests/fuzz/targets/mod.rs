//! What reads what others have written, fed with anything at all: `make fuzz`.
//!
//! A target asserts more than that nothing panics: what was written is read again, an error names its place and what
//! to do, the same bytes give the same answer. And each answer takes no longer than in proportion to its input.

mod accounts;
mod bus;
mod config;
mod containerd;
mod directory;
mod docker;
mod draw;
mod handshake;
mod hierarchies;
mod ids;
mod json;
mod lists;
mod process;
mod record;
mod resources;
mod seccomp;

use nix::sys::resource::{UsageWho, getrusage};
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

/// One of them.
pub struct Target {
    name: &'static str,
    execute: fn(&[u8]),
    /// Of a config.json, what to start from.
    seeds: fn(&[u8]) -> Vec<Vec<u8>>,
    /// Whether the bytes from here on are JSON, which is then changed as such too.
    json_from: Option<usize>,
}

const TARGETS: &[Target] = &[
    Target::of_json("config", config::execute, config::seeds),
    Target::of_json("process", process::execute, process::seeds),
    Target::of_json("resources", resources::execute, resources::seeds),
    Target::of("seccomp", seccomp::execute, seccomp::seeds),
    Target::of("record", record::execute, record::seeds),
    Target::of("hierarchies", hierarchies::execute, none),
    Target::of("ids", ids::execute, none),
    Target::of("accounts", accounts::execute, none),
    Target::of("lists", lists::execute, none),
    Target::of("handshake", handshake::execute, none),
    Target::of("bus", bus::execute, none),
    Target::of("docker", docker::execute, none),
    Target::of("containerd", containerd::execute, none),
];

/// A config.json says nothing to this target.
fn none(_: &[u8]) -> Vec<Vec<u8>> {
    Vec::new()
}

impl Target {
    const fn of(name: &'static str, execute: fn(&[u8]), seeds: fn(&[u8]) -> Vec<Vec<u8>>) -> Self {
        Self { name, execute, seeds, json_from: None }
    }

    /// Its input is JSON behind a host.
    const fn of_json(name: &'static str, execute: fn(&[u8]), seeds: fn(&[u8]) -> Vec<Vec<u8>>) -> Self {
        Self { json_from: Some(draw::BYTES), ..Self::of(name, execute, seeds) }
    }

    /// What `KASE_FUZZ_TARGET` can be.
    pub fn names() -> impl Iterator<Item = &'static str> {
        TARGETS.iter().map(|target| target.name)
    }

    /// The target of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// Executes it once, and again where that took long: the machine may have been at fault.
    ///
    /// # Panics
    /// The target has found something.
    pub fn execute(&self, bytes: &[u8]) {
        let bound = FLOOR + EACH_BYTE * u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let times: Vec<Duration> = std::iter::repeat_with(|| {
            let begun = processor_time();
            (self.execute)(bytes);
            processor_time() - begun
        })
        .take(TIMES)
        .take_while(|time| *time > bound)
        .collect();
        assert!(times.len() < TIMES, "{} bytes take {times:?}, which is longer than {bound:?}", bytes.len());
    }

    /// The input changed as JSON. Nothing where it is to be changed as bytes.
    pub fn mutate(&self, bytes: &[u8], most: usize, seed: u32) -> Option<Vec<u8>> {
        let from = self.json_from.filter(|from| !seed.is_multiple_of(4) && bytes.len() > *from)?;
        let (before, text) = bytes.split_at(from);
        let mutated = [before, &json::mutate(text, seed)?].concat();
        (mutated.len() <= most).then_some(mutated)
    }

    /// Writes what it can start from, of each config.json in a directory, into another.
    pub fn write_seeds(&self, from: &Path, to: &Path) -> io::Result<()> {
        for entry in fs::read_dir(from)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            for (number, seed) in (self.seeds)(&fs::read(&path)?).iter().enumerate() {
                fs::write(to.join(format!("{name}-{number}")), seed)?;
            }
        }
        Ok(())
    }
}

/// An answer may take this long whatever is asked, with all the counters.
const FLOOR: Duration = Duration::from_millis(300);
/// And so much longer for each byte of it.
const EACH_BYTE: Duration = Duration::from_micros(20);
const TIMES: usize = 3;

/// What this thread alone has computed: others on the machine do not count.
fn processor_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).expect("every kernel tells");
    [usage.user_time(), usage.system_time()]
        .into_iter()
        .map(|time| {
            Duration::from_secs(time.tv_sec().unsigned_abs())
                + Duration::from_micros(time.tv_usec().unsigned_abs())
        })
        .sum()
}

/// What every error of kase's owes to a person: where it is, if there is a place, one line, and what to do.
fn assert_helps(error: &anyhow::Error) {
    let report = crate::fault::Report::of(error);
    assert!(!report.line.is_empty() && !report.line.contains(char::is_control), "{report:?}");
    assert!(report.remedy.as_ref().is_some_and(|remedy| !remedy.is_empty()), "no help: {report:?}");
}
