//! daemon.json, with kase in it and without it again.

use crate::fault::Fault;
use crate::integrate::{Choice, docker};
use serde_json::Value;

const PROGRAM: &str = "\"/usr/local/bin/kase\"";

pub fn execute(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    for choice in [Choice::OnRequest, Choice::Default] {
        let with = match docker::add(text, PROGRAM, choice) {
            Ok(with) => with,
            Err(fault) => {
                refused(text, fault);
                continue;
            }
        };
        let value: Value =
            serde_json::from_str(with.trim_start_matches('\u{feff}')).expect("JSON is made of JSON");
        assert_eq!(value["runtimes"]["kase"]["path"], "/usr/local/bin/kase");
        if choice == Choice::Default {
            assert_eq!(value["default-runtime"], "kase");
        }
        let again = docker::add(&with, PROGRAM, choice).expect("what was added can be added again");
        assert_eq!(again, with);
        let without = docker::remove(&with, text).expect("what was added can be removed");
        let blank = text.trim_start_matches('\u{feff}').trim().is_empty();
        if blank {
            assert_eq!(
                serde_json::from_str::<Value>(without.trim_start_matches('\u{feff}')).ok(),
                Some(serde_json::json!({})),
                "of nothing"
            );
        } else {
            assert_eq!(without, text, "by way of {with:?}");
        }
    }
    if let Err(fault) = docker::remove(text, "") {
        refused(text, fault);
    }
}

fn refused(text: &str, fault: Fault) {
    let said = fault.to_string();
    let line = said.rsplit_once(" at line ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    let line: usize = line.unwrap_or_else(|| panic!("it names a line: {said}"));
    assert!(line <= text.split('\n').count(), "{said}");
}
