//! `--fake-root`: calls that change an owner or become a user answer success and do nothing.
//!
//! Where a user namespace has one id, there is nobody to give a file to, and package managers fail that want to. A
//! convenience and no security: whoever asks afterwards sees that nothing has changed.

use super::notes::Notes;
use crate::fault::Fault;
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSyscall};
use rootless::id_map::{IdMap, IdMaps};
use std::collections::HashMap;

/// The annotation that asks for it.
pub const ANNOTATION: &str = "kase.fake-root";

/// The calls, with those of architectures whose first ones had ids of 16 bits.
const CALLS: [&str; 25] = [
    "chown",
    "chown32",
    "fchown",
    "fchown32",
    "fchownat",
    "lchown",
    "lchown32",
    "setfsgid",
    "setfsgid32",
    "setfsuid",
    "setfsuid32",
    "setgid",
    "setgid32",
    "setgroups",
    "setgroups32",
    "setregid",
    "setregid32",
    "setresgid",
    "setresgid32",
    "setresuid",
    "setresuid32",
    "setreuid",
    "setreuid32",
    "setuid",
    "setuid32",
];

/// Whether it is asked for and there is a use for it: with ids to give, these calls do what they say.
///
/// # Errors
/// An annotation that says neither yes nor no.
pub fn decide(
    option: bool,
    annotations: Option<&HashMap<String, String>>,
    ids: Option<&IdMaps>,
    notes: &mut Notes,
) -> Result<bool, Fault> {
    let annotated = match annotations.and_then(|annotations| annotations.get(ANNOTATION)).map(String::as_str)
    {
        Some("true" | "1") => true,
        Some("false" | "0") | None => false,
        Some(other) => {
            return Err(Fault::at(format!("annotations[{ANNOTATION:?}]"), format!("{other:?} is no answer"))
                .remedy("use true or false"));
        }
    };
    if !option && !annotated {
        return Ok(false);
    }
    let single = |map: &IdMap| matches!(map.0[..], [line] if line.count == 1);
    let useful = ids.is_some_and(|ids| single(&ids.uids) && single(&ids.gids));
    if !useful {
        notes.warn("--fake-root is left out: the container has more than one id, so that calls which change owners work".into());
    }
    Ok(useful)
}

/// The profile with these calls answered, whether it allows or refuses them; without one, everything else is allowed.
/// What it ends a program for, or tells somebody of, stays so, with a note.
pub fn profile(profile: Option<&LinuxSeccomp>, notes: &mut Notes) -> LinuxSeccomp {
    // Programs of the host's narrower architectures run without a filter, so they do under this one.
    let architectures = match cfg!(target_arch = "x86_64") {
        true => r#""SCMP_ARCH_X86", "SCMP_ARCH_X32""#,
        false if cfg!(target_arch = "aarch64") => r#""SCMP_ARCH_ARM""#,
        false => "",
    };
    let mut profile = profile.cloned().unwrap_or_else(|| {
        let open = format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "architectures": [{architectures}]}}"#);
        serde_json::from_slice(open.as_bytes()).expect("this is a profile")
    });
    let mut entries = profile.syscalls().clone().unwrap_or_default();
    let (kept, faked): (Vec<&str>, _) = CALLS.iter().partition(|name| is_grave(&profile, &entries, name));
    if !kept.is_empty() {
        notes.warn(format!(
            "--fake-root leaves calls alone that linux.seccomp kills, traps, traces or notifies for: {}",
            kept.join(", ")
        ));
    }
    if faked.is_empty() {
        return profile;
    }
    for entry in &mut entries {
        let mut names = entry.names().clone();
        names.retain(|name| !faked.contains(&name.as_str()));
        entry.set_names(names);
    }
    let answer = br#"{"names": [], "action": "SCMP_ACT_ERRNO", "errnoRet": 0}"#;
    let mut answer: LinuxSyscall = serde_json::from_slice(answer).expect("this is an entry");
    answer.set_names(faked.into_iter().map(String::from).collect());
    entries.push(answer);
    profile.set_syscalls(Some(entries));
    profile
}

/// Whether the profile has more for a call, with some arguments at least, than to allow or refuse it.
fn is_grave(profile: &LinuxSeccomp, entries: &[LinuxSyscall], name: &str) -> bool {
    use LinuxSeccompAction::{ScmpActAllow, ScmpActErrno, ScmpActLog};
    let grave = |action| !matches!(action, ScmpActAllow | ScmpActErrno | ScmpActLog);
    let of_it = || entries.iter().filter(|entry| entry.names().iter().any(|listed| listed == name));
    let whole = |entry: &LinuxSyscall| entry.args().as_ref().is_none_or(Vec::is_empty);
    of_it().any(|entry| grave(entry.action())) || (grave(profile.default_action()) && !of_it().any(whole))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::interpret::{Data, run};
    use crate::seccomp::{Arch, compile, number};
    use rootless::id_map::Line;

    const ALLOW: u32 = 0x7fff_0000;
    const NOTHING_DONE: u32 = 0x0005_0000;

    #[test]
    fn every_name_is_a_system_calls() {
        let program = compile(&profile(None, &mut Notes::default()), Arch::native().unwrap()).unwrap();
        assert_eq!(program.unknown, []);
        assert!(program.instructions.len() < 100, "{}", program.instructions.len());
    }

    #[test]
    fn the_profile_decides_about_all_other_calls() {
        let text = r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            {"names": ["read", "chown"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["setuid"], "action": "SCMP_ACT_KILL"}]}"#;
        let listed: LinuxSeccomp = serde_json::from_str(text).unwrap();
        let arch = Arch::X86_64;
        let answer = |listed: Option<&LinuxSeccomp>, name: &str| {
            let program = compile(&profile(listed, &mut Notes::default()), arch).unwrap();
            run(&program.instructions, &Data::new(number(name, arch).unwrap(), arch.audit()), false).answer
        };
        assert_eq!(answer(Some(&listed), "read"), ALLOW);
        assert_eq!(answer(Some(&listed), "fchownat"), NOTHING_DONE);
        assert_eq!(answer(Some(&listed), "setuid"), 0, "is killed, as the profile has it");
        assert_eq!(answer(Some(&listed), "mkdirat"), NOTHING_DONE | 1);
        assert_eq!(answer(None, "mkdirat"), ALLOW);
        assert_eq!(answer(None, "setgroups"), NOTHING_DONE);
    }

    #[test]
    fn what_the_profile_ends_a_program_for_is_left_alone_and_it_is_said() {
        let kept = |text: &str| {
            let mut notes = Notes::default();
            profile(Some(&serde_json::from_str(text).unwrap()), &mut notes);
            notes.iter().map(|(_, text)| text.rsplit(": ").next().unwrap().to_string()).collect::<String>()
        };
        let listed = |action: &str| {
            format!(
                r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{{"names": ["setuid"], "action": "{action}"}}]}}"#
            )
        };
        for action in ["KILL", "KILL_THREAD", "KILL_PROCESS", "TRAP", "TRACE", "NOTIFY"] {
            assert_eq!(kept(&listed(&format!("SCMP_ACT_{action}"))), "setuid", "{action}");
        }
        for action in ["ERRNO", "ALLOW", "LOG"] {
            assert_eq!(kept(&listed(&format!("SCMP_ACT_{action}"))), "", "{action}");
        }
        let names = CALLS.map(|name| format!("{name:?}")).join(", ");
        let all = format!(
            r#"{{"defaultAction": "SCMP_ACT_KILL", "syscalls": [{{"names": [{names}], "action": "SCMP_ACT_ALLOW"}}]}}"#
        );
        assert_eq!(kept(&all), "");
        assert_eq!(kept(&all.replace(r#""setuid", "#, "")), "setuid");
    }

    #[test]
    fn with_more_than_one_id_it_is_left_out_and_it_is_said() {
        let maps = |count| {
            let map = || IdMap(vec![Line { inside: 0, outside: 1000, count }]);
            IdMaps { uids: map(), gids: map() }
        };
        let mut notes = Notes::default();
        assert!(decide(true, None, Some(&maps(1)), &mut notes).unwrap());
        assert!(!decide(false, None, Some(&maps(1)), &mut notes).unwrap());
        assert_eq!(notes.iter().count(), 0);
        assert!(!decide(true, None, Some(&maps(2)), &mut notes).unwrap());
        assert!(!decide(true, None, None, &mut notes).unwrap());
        let one_group = IdMaps { uids: maps(65536).uids, gids: maps(1).gids };
        assert!(!decide(true, None, Some(&one_group), &mut notes).unwrap());
        assert_eq!(notes.iter().count(), 3);
        let annotations = HashMap::from([(ANNOTATION.to_string(), "perhaps".to_string())]);
        assert!(decide(false, Some(&annotations), None, &mut notes).is_err());
    }
}
