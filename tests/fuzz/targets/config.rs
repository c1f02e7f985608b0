//! config.json, to a plan, on a host of any kind.

use super::draw::{BYTES, Draw};
use crate::bundle;
use crate::fault::Fault;
use crate::json_tree::Tree;
use crate::lint;
use crate::plan::Plan;
use serde::de::IgnoredAny;

pub fn execute(bytes: &[u8]) {
    let (_, text) = Draw::from(bytes);
    let is_json = serde_json::from_slice::<IgnoredAny>(text).is_ok();
    assert!(Tree::read(text).is_some() || !is_json, "what serde reads, the tree reads");
    let lines = text.iter().filter(|byte| **byte == b'\n').count() + 1;
    for finding in lint::lint(text) {
        assert!((1..=lines).contains(&finding.line), "{finding:?}");
        assert!(finding.column <= text.len() + 1, "{finding:?}");
    }
    let planned = plan(bytes);
    assert_eq!(plan(bytes), planned, "the same bytes on the same host");
    if planned.is_ok() {
        assert!(is_json);
    }
}

/// What is decided, in words.
fn plan(bytes: &[u8]) -> Result<String, String> {
    let (mut draw, text) = Draw::from(bytes);
    let config = match bundle::config(text) {
        Ok(config) => config,
        Err(fault) => return Err(refused(fault)),
    };
    let (host, options) = (draw.host(), draw.options());
    match Plan::draw(&config, &host, &options) {
        Ok(plan) => {
            for (_, note) in plan.notes.iter() {
                assert!(!note.is_empty());
            }
            if let Some(maps) = &plan.maps {
                assert_eq!(maps.check(), Ok(()), "the kernel takes the maps");
            }
            Ok(format!("{:?}{:?}{:?}", plan.mounts, plan.cgroup, plan.process))
        }
        Err(fault) => Err(refused(fault)),
    }
}

fn refused(fault: Fault) -> String {
    let text = fault.to_string();
    super::assert_helps(&fault.into());
    text
}

pub fn seeds(text: &[u8]) -> Vec<Vec<u8>> {
    let hosts: [[u8; BYTES]; 3] = [[0; BYTES], [1; BYTES], [2; BYTES]];
    hosts.iter().map(|host| [host.as_slice(), text].concat()).collect()
}
