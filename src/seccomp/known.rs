//! The spec's words that a profile can use, for `features`.

use super::program::{FLAG_LOG, FLAG_SPEC_ALLOW, FLAG_TSYNC, FLAG_WAIT_KILLABLE_RECV};
use oci_spec::runtime::LinuxSeccompFilterFlag::{self as Flag, *};
use oci_spec::runtime::{LinuxSeccompAction as Action, LinuxSeccompOperator as Operator};

/// What can be done about a call.
pub const ACTIONS: [Action; 9] = [
    Action::ScmpActAllow,
    Action::ScmpActErrno,
    Action::ScmpActKill,
    Action::ScmpActKillProcess,
    Action::ScmpActKillThread,
    Action::ScmpActLog,
    Action::ScmpActNotify,
    Action::ScmpActTrace,
    Action::ScmpActTrap,
];

/// How an argument can be compared.
pub const OPERATORS: [Operator; 7] = [
    Operator::ScmpCmpEq,
    Operator::ScmpCmpGe,
    Operator::ScmpCmpGt,
    Operator::ScmpCmpLe,
    Operator::ScmpCmpLt,
    Operator::ScmpCmpMaskedEq,
    Operator::ScmpCmpNe,
];

/// Flags of the filter, and the kernel's bit for each.
pub const FLAGS: [(Flag, u32); 4] = [
    (SeccompFilterFlagLog, FLAG_LOG),
    (SeccompFilterFlagSpecAllow, FLAG_SPEC_ALLOW),
    (SeccompFilterFlagTsync, FLAG_TSYNC),
    (SeccompFilterFlagWaitKillableRecv, FLAG_WAIT_KILLABLE_RECV),
];

#[cfg(test)]
mod tests {
    use super::super::{Arch, compile};
    use super::*;
    use oci_spec::runtime::LinuxSeccomp;

    fn compiles(profile: &str) -> bool {
        compiles_on(profile, Arch::X86_64)
    }

    fn compiles_on(profile: &str, host: Arch) -> bool {
        let profile: LinuxSeccomp = serde_json::from_str(profile).unwrap();
        compile(&profile, host).is_ok()
    }

    #[test]
    fn every_known_word_is_one_that_the_compiler_takes() {
        for arch in Arch::ALL {
            let word = arch.word();
            let profile = format!(r#"{{"defaultAction": "SCMP_ACT_LOG", "architectures": ["{word}"]}}"#);
            // One of another order of bytes is known, and refused with that reason.
            assert!(compiles_on(&profile, arch), "{word}");
            assert_eq!(Arch::named(word.parse().unwrap(), Arch::X86), Some(arch));
        }
        for action in ACTIONS {
            let profile = format!(
                r#"{{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/agent",
                     "syscalls": [{{"names": ["mkdir"], "action": "{action}"}}]}}"#
            );
            assert!(compiles(&profile), "{action}");
        }
        for operator in OPERATORS {
            let profile = format!(
                r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{{"names": ["mkdir"], "action": "SCMP_ACT_TRAP",
                     "args": [{{"index": 1, "value": 7, "op": "{operator}"}}]}}]}}"#
            );
            assert!(compiles(&profile), "{operator}");
        }
        for (flag, _) in FLAGS {
            let profile = format!(
                r#"{{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["{flag}"], "listenerPath": "/agent",
                     "syscalls": [{{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}}]}}"#
            );
            assert!(compiles(&profile), "{flag}");
        }
    }
}
