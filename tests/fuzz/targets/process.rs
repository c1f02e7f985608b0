//! process.json, as `exec` gets it.

use super::draw::Draw;
use crate::bundle;
use crate::config::Process;
use crate::plan::exec::{self, Changes};
use crate::plan::notes::Notes;
use crate::plan::process;

/// What the container's own process has.
const CONTAINER: &str = r#"{"cwd": "/", "args": ["init"], "env": ["A=1"], "user": {"uid": 5, "gid": 6},
    "capabilities": {"bounding": ["CAP_KILL"], "inheritable": ["CAP_KILL"]}, "apparmorProfile": "web",
    "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}]}"#;

pub fn execute(bytes: &[u8]) {
    let (mut draw, text) = Draw::from(bytes);
    let host = draw.host();
    let given: Process = match bundle::parse(text) {
        Ok(given) => given,
        Err(fault) => return super::assert_helps(&fault.into()),
    };
    let container: Process = bundle::parse(CONTAINER.as_bytes()).expect("this is one");
    let whole = exec::complete(&container, given.clone());
    // What is not said is never less confined than the container.
    assert!(whole.apparmor_profile.as_ref().is_some_and(|profile| !profile.is_empty()));
    assert!(whole.capabilities.is_some() && whole.rlimits.is_some());
    let arguments = given.args.unwrap_or_default();
    let capabilities = arguments.clone();
    let changed = exec::change(&container, Changes { arguments, capabilities, ..Changes::default() });
    for process in [whole, changed] {
        let mut notes = Notes::default();
        match process::decide(Some(&process), None, host.last_capability, &mut notes) {
            Ok(plan) => {
                let known = u64::MAX >> (63 - host.last_capability);
                let sets = &plan.capabilities;
                let all = [sets.bounding, sets.effective, sets.permitted, sets.inheritable, sets.ambient];
                assert!(
                    all.iter().all(|set| set & !known == 0),
                    "a capability that the kernel does not have"
                );
            }
            Err(fault) => {
                assert!(fault.place().is_some(), "{fault}");
                super::assert_helps(&fault.into());
            }
        }
    }
}

pub fn seeds(text: &[u8]) -> Vec<Vec<u8>> {
    super::draw::part(text, "/process")
}
