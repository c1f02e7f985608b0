//! Device rules as an eBPF program: on cgroup v2 there is no file for them.
//!
//! The rules are tried from the last to the first. Each one that matches the device decides about the accesses
//! that it speaks of; a deny among them ends with no, and when none is left undecided the answer is yes.

use super::rights::open;
use crate::cgroup::directory::is_denied;
use crate::fault::{Fault, OrFault};
use crate::kernel::bpf::{self, BpfInsn};
use crate::plan::cgroup::devices::{Access, Answer, Kind, Rule};
use std::os::fd::AsFd;
use std::path::Path;

/// Attaches the program for `rules`, in the place of whatever is attached.
///
/// # Errors
/// A kernel without it, or a caller without the capability.
pub fn attach(path: &Path, rules: &[Rule]) -> anyhow::Result<()> {
    let place = || {
        Fault::at("linux.resources.devices", format!("attach a device program to {}", path.display()))
            .remedy("run kase with CAP_BPF or CAP_SYS_ADMIN, on a kernel with CONFIG_CGROUP_BPF")
    };
    let everything = allows_everything(rules);
    let cgroup = open(path).or_fault(place)?;
    let cgroup = cgroup.as_fd();
    // A cgroup that was there before may have some.
    let old = match bpf::attached(cgroup) {
        // Whoever may not ask needs none here, and has attached none.
        Err(error) if everything && is_denied(&error) => Vec::new(),
        old => old.or_fault(place)?,
    };
    let mut old = old.iter();
    if !everything {
        let program = bpf::load_device_program(&compile(rules)).or_fault(place)?;
        bpf::attach(cgroup, program.as_fd(), old.next().map(AsFd::as_fd)).or_fault(place)?;
    }
    old.try_for_each(|old| bpf::detach(cgroup, old.as_fd())).or_fault(place)
}

/// Then no program is needed, as for a privileged container.
fn allows_everything(rules: &[Rule]) -> bool {
    let last = rules.iter().rev();
    let mut allows = last.take_while(|rule| rule.answer == Answer::Allow);
    allows.any(Rule::is_total)
}

// Registers.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const UNDECIDED: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

// Instructions: 32-bit load, 64-bit arithmetic with a constant (k) or a register (x), jumps; bpf_common.h.
const LOAD: u8 = 0x61;
const MOV_K: u8 = 0xb7;
const MOV_X: u8 = 0xbf;
const AND_K: u8 = 0x57;
const SHIFT_RIGHT_K: u8 = 0x77;
const JUMP_EQUAL_K: u8 = 0x15;
const JUMP_UNEQUAL_K: u8 = 0x55;
const EXIT: u8 = 0x95;

fn step(code: u8, destination: u8, source: u8, offset: i16, immediate: u32) -> BpfInsn {
    BpfInsn { code, registers: destination | source << 4, offset, immediate: immediate as i32 }
}

fn answer(program: &mut Vec<BpfInsn>, answer: Answer) {
    program.push(step(MOV_K, RESULT, 0, 0, u32::from(answer == Answer::Allow)));
    program.push(step(EXIT, 0, 0, 0, 0));
}

/// The program. Its argument is `struct bpf_cgroup_dev_ctx`: access and type in one word, major, minor.
fn compile(rules: &[Rule]) -> Vec<BpfInsn> {
    let mut program = vec![
        step(LOAD, KIND, CONTEXT, 0, 0),
        step(MOV_X, UNDECIDED, KIND, 0, 0),
        step(AND_K, KIND, 0, 0, 0xffff),
        step(SHIFT_RIGHT_K, UNDECIDED, 0, 0, 16),
        step(LOAD, MAJOR, CONTEXT, 4, 0),
        step(LOAD, MINOR, CONTEXT, 8, 0),
    ];
    for rule in rules.iter().rev() {
        one(&mut program, rule);
        if rule.is_total() {
            return program;
        }
    }
    answer(&mut program, Answer::Deny);
    program
}

fn one(program: &mut Vec<BpfInsn>, rule: &Rule) {
    let kind = rule.kind.map(|kind| match kind {
        Kind::Block => 1,
        Kind::Character => 2,
    });
    let start = program.len();
    for (register, wanted) in [(KIND, kind), (MAJOR, rule.major), (MINOR, rule.minor)] {
        if let Some(wanted) = wanted {
            program.push(step(JUMP_UNEQUAL_K, register, 0, 0, wanted));
        }
    }
    let mask = u32::from(rule.access.0);
    // What speaks of every access leaves nothing undecided.
    if rule.access != Access::ALL {
        match rule.answer {
            Answer::Deny => {
                program.push(step(MOV_X, SCRATCH, UNDECIDED, 0, 0));
                program.push(step(AND_K, SCRATCH, 0, 0, mask));
                program.push(step(JUMP_EQUAL_K, SCRATCH, 0, 0, 0));
            }
            Answer::Allow => {
                program.push(step(AND_K, UNDECIDED, 0, 0, !mask & u32::from(Access::ALL.0)));
                program.push(step(JUMP_UNEQUAL_K, UNDECIDED, 0, 0, 0));
            }
        }
    }
    answer(program, rule.answer);
    // Every jump of this rule goes to the next one.
    let end = program.len();
    for (at, step) in program.iter_mut().enumerate().skip(start) {
        if matches!(step.code, JUMP_EQUAL_K | JUMP_UNEQUAL_K) {
            step.offset = i16::try_from(end - at - 1).expect("a rule has at most ten steps");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::cgroup::devices::decide;
    use serde_json::json;

    /// Runs the program as the kernel would.
    fn ask(program: &[BpfInsn], kind: u32, major: u32, minor: u32, access: u8) -> bool {
        let mut registers = [0u64; 7];
        let mut at = 0;
        loop {
            let step = program[at];
            let (to, from) = ((step.registers & 0xf) as usize, (step.registers >> 4) as usize);
            let constant = step.immediate as u64;
            at += 1;
            match step.code {
                LOAD => {
                    registers[to] = match step.offset {
                        0 => u64::from(u32::from(access) << 16 | kind),
                        4 => u64::from(major),
                        _ => u64::from(minor),
                    }
                }
                MOV_K => registers[to] = constant,
                MOV_X => registers[to] = registers[from],
                AND_K => registers[to] &= constant,
                SHIFT_RIGHT_K => registers[to] >>= constant,
                JUMP_EQUAL_K if registers[to] == constant => at += step.offset as usize,
                JUMP_UNEQUAL_K if registers[to] != constant => at += step.offset as usize,
                JUMP_EQUAL_K | JUMP_UNEQUAL_K => {}
                EXIT => return registers[RESULT as usize] == 1,
                code => panic!("{code:#x}"),
            }
        }
    }

    fn program(listed: &serde_json::Value) -> Vec<BpfInsn> {
        let listed: Vec<_> = serde_json::from_value(listed.clone()).unwrap();
        compile(&decide(&listed, std::iter::empty()).unwrap())
    }

    const BLOCK: u32 = 1;
    const CHARACTER: u32 = 2;
    const READ_WRITE: u8 = Access::READ | Access::WRITE;

    #[test]
    fn what_nobody_allows_is_denied_except_making_nodes() {
        let program = program(&json!([{"allow": false, "access": "rwm"}]));
        assert!(ask(&program, CHARACTER, 1, 3, READ_WRITE));
        assert!(ask(&program, CHARACTER, 136, 77, READ_WRITE));
        assert!(!ask(&program, BLOCK, 1, 3, Access::READ));
        assert!(!ask(&program, BLOCK, 8, 0, Access::READ));
        assert!(ask(&program, BLOCK, 8, 0, Access::MAKE));
        assert!(!ask(&program, BLOCK, 8, 0, Access::MAKE | Access::READ));
    }

    #[test]
    fn each_access_is_decided_by_the_last_rule_about_it() {
        let program = program(&json!([
            {"allow": true, "type": "c", "major": 10, "access": "rw"},
            {"allow": false, "type": "c", "major": 10, "minor": 229, "access": "w"},
            {"allow": true, "type": "b", "major": 8, "access": "r"},
            {"allow": true, "type": "b", "major": 8, "minor": 1, "access": "w"},
        ]));
        assert!(ask(&program, CHARACTER, 10, 229, Access::READ));
        assert!(!ask(&program, CHARACTER, 10, 229, READ_WRITE));
        assert!(ask(&program, CHARACTER, 10, 1, READ_WRITE));
        assert!(ask(&program, BLOCK, 8, 1, READ_WRITE));
        assert!(!ask(&program, BLOCK, 8, 2, READ_WRITE));
    }

    #[test]
    fn what_comes_before_a_total_rule_does_not_count() {
        let program = program(&json!([
            {"allow": true, "type": "b", "major": 8, "access": "rwm"},
            {"allow": false, "access": "rwm"},
        ]));
        assert!(!ask(&program, BLOCK, 8, 0, Access::READ));
    }

    #[test]
    fn a_privileged_container_needs_no_program() {
        let rules = |listed: &serde_json::Value| {
            decide(&serde_json::from_value::<Vec<_>>(listed.clone()).unwrap(), std::iter::empty()).unwrap()
        };
        let all = json!({"allow": true, "access": "rwm"});
        assert!(allows_everything(&rules(&json!([all]))));
        assert!(!allows_everything(&rules(&json!([all, {"allow": false, "type": "b", "access": "w"}]))));
        assert!(!allows_everything(&rules(&json!([]))));
    }
}
