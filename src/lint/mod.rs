//! `kase lint`: what is wrong with a config.json, and what is weak, on any host.
//!
//! Pure. What planning refuses, planning says here too, in the same words; the rest is what no runtime tells:
//! fields that nobody reads, words that the kernel does not know, settings that contradict each other or leave
//! the container open.

mod fields;
mod findings;
mod rules;
mod weak;
mod words;

pub use self::fields::nearest;

use crate::bundle::parse;
use crate::config::Config;
use crate::fault::{Fault, Report};
use crate::host::Host;
use crate::host::facilities::{Facilities, Resctrl};
use crate::json_tree::Tree;
use crate::plan::adapt::Adapt;
use crate::plan::cgroup::annotated::Properties;
use crate::plan::cgroup::{Driver, Manager, Version};
use crate::plan::{Options, Plan};
use findings::Findings;
use rootless::caller::{Caller, Standing};
use std::path::Path;

pub use findings::{Finding, Level};

/// Everything that is to be said of the text of a config.json, in the order of the file.
pub fn lint(text: &[u8]) -> Vec<Finding> {
    let mut findings = Findings::default();
    let tree = Tree::read(text);
    match parse::<Config>(text) {
        Err(fault) => refused(fault, text, tree.as_ref(), &mut findings),
        Ok(config) => {
            if let Some(fault) = planned(&config) {
                refused(fault, text, tree.as_ref(), &mut findings);
            }
        }
    }
    if let Some(tree) = &tree {
        fields::check(tree, &mut findings);
        words::check(tree, &mut findings);
        rules::check(tree, &mut findings);
        weak::check(tree, &mut findings);
    }
    findings.placed(text)
}

/// Refuses what has an error.
///
/// # Errors
/// The first one, and how many more there are.
pub fn strict(text: &[u8]) -> Result<(), Fault> {
    let errors: Vec<Finding> =
        lint(text).into_iter().filter(|finding| finding.level == Level::Error).collect();
    let Some(first) = errors.first() else { return Ok(()) };
    let more = match errors.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more: kase lint lists them)"),
    };
    let what = format!("line {} column {}: {}{more}", first.line, first.column, first.what);
    let place = if first.place.is_empty() { "config.json" } else { &first.place };
    let fault = Fault::at(place, what);
    Err(match &first.remedy {
        Some(remedy) => fault.remedy(remedy),
        None => fault.remedy("correct it, or leave --strict out"),
    })
}

/// What planning, or parsing, refuses.
fn refused(fault: Fault, text: &[u8], tree: Option<&Tree>, findings: &mut Findings) {
    let place = fault.place().unwrap_or_default().to_string();
    let report = Report::of(&fault.into());
    let what = report.line.strip_prefix(&format!("{place}: ")).unwrap_or(&report.line).to_string();
    let at = match tree {
        Some(tree) => tree.find(&place),
        None => offset(text, &what),
    };
    findings.add(Level::Error, at, &place, what, report.remedy);
}

/// serde says where the JSON breaks off, `… at line 3 column 14`.
fn offset(text: &[u8], said: &str) -> usize {
    let number = |word: &str| -> Option<usize> {
        said.rsplit_once(word)?.1.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    let (line, column) = (number(" line ").unwrap_or(1), number(" column ").unwrap_or(1));
    let before = text.split_inclusive(|byte| *byte == b'\n').take(line.saturating_sub(1));
    before.map(<[u8]>::len).sum::<usize>() + column.saturating_sub(1)
}

/// What planning refuses on a host that has everything, for a caller who may do everything.
fn planned(config: &Config) -> Option<Fault> {
    let mut host = Host::assumed(Caller::assumed(Standing::Root, 0, 0));
    let resctrl = Resctrl { root: "/sys/fs/resctrl".into(), cache: true, bandwidth: true };
    host.facilities = Facilities { apparmor: true, selinux: true, resctrl: Some(resctrl) };
    let draw = |version| {
        let options = Options {
            bundle: Path::new("/bundle"),
            adapt: Adapt::No,
            no_pivot: false,
            no_new_keyring: false,
            preserve_fds: 0,
            id: "lint",
            version: Some(version),
            systemd: None,
            cgroups: Manager { driver: Driver::Cgroupfs, properties: Properties::Scope },
            overlay: None,
            fake_root: false,
        };
        Plan::draw(config, &host, &options).map(drop)
    };
    // Some limits exist in one version of cgroups only.
    let faults: Option<Vec<Fault>> = Version::ALL.into_iter().map(|version| draw(version).err()).collect();
    faults?.into_iter().next()
}

#[cfg(test)]
mod tests;
