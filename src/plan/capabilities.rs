//! Capability sets as the kernel's bit masks.

use super::notes::Notes;
use crate::config;
use std::str::FromStr;

/// Bit n is capability n, as in /proc/PID/status.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// What an exec can ever give.
    pub bounding: u64,
    /// What counts.
    pub effective: u64,
    /// What a file's inheritable set lets through an exec.
    pub inheritable: u64,
    /// What may be made effective.
    pub permitted: u64,
    /// What an exec of a plain program keeps.
    pub ambient: u64,
}

/// The sets of `process.capabilities`; without it, none. What the kernel does not know is left out with a
/// warning, as in runc, so that a newer engine can name newer capabilities.
pub fn decide(listed: Option<&config::Capabilities>, last: u8, notes: &mut Notes) -> Capabilities {
    let Some(listed) = listed else { return Capabilities::default() };
    let mut mask = |set: &Option<Vec<String>>| mask(set.as_deref().unwrap_or_default(), last, notes);
    let mut sets = Capabilities {
        bounding: mask(&listed.bounding),
        effective: mask(&listed.effective),
        inheritable: mask(&listed.inheritable),
        permitted: mask(&listed.permitted),
        ambient: mask(&listed.ambient),
    };
    let allowed = sets.permitted & sets.inheritable;
    if sets.ambient & !allowed != 0 {
        let message = format!(
            "process.capabilities.ambient: left out what is not both permitted and inheritable: {}",
            names(sets.ambient & !allowed)
        );
        // buildah lists what it grants in every set but the inheritable one, and a warning at each step of a build
        // would help nobody. A list that differs from the bounding set was meant, so its user is warned.
        if sets.ambient == sets.bounding {
            notes.debug(message);
        } else {
            notes.warn(message);
        }
        sets.ambient &= allowed;
    }
    sets
}

/// The names of a mask's capabilities.
fn names(mask: u64) -> String {
    let listed = caps::all().into_iter().filter(|capability| mask & capability.bitmask() != 0);
    let mut names: Vec<_> = listed.map(|capability| capability.to_string()).collect();
    names.sort_unstable();
    names.join(", ")
}

fn mask(set: &[String], last: u8, notes: &mut Notes) -> u64 {
    let mut mask = 0;
    for name in set {
        match caps::Capability::from_str(name) {
            Ok(capability) if capability.index() <= last => mask |= capability.bitmask(),
            _ => {
                let text = format!(
                    "process.capabilities: {name} is unknown to kase or to the kernel; it is left out"
                );
                // The same name is often in several sets, and one message is enough.
                if notes.iter().all(|(_, said)| *said != text) {
                    notes.warn(text);
                }
            }
        }
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_the_kernels_masks_and_unknown_ones_are_left_out() {
        let names = ["CAP_KILL", "CAP_CHECKPOINT_RESTORE", "CAP_TIME_TRAVEL"].map(String::from);
        let listed = config::Capabilities { bounding: Some(names.to_vec()), ..Default::default() };
        let mut notes = Notes::default();
        assert_eq!(decide(Some(&listed), 39, &mut notes).bounding, 1 << 5);
        assert_eq!(notes.iter().count(), 2);
    }

    #[test]
    fn what_is_unknown_in_several_sets_is_told_once() {
        let names = Some(vec!["CAP_TIME_TRAVEL".to_string()]);
        let listed = config::Capabilities {
            bounding: names.clone(),
            effective: names.clone(),
            permitted: names,
            ..Default::default()
        };
        let mut notes = Notes::default();
        decide(Some(&listed), 40, &mut notes);
        assert_eq!(notes.iter().count(), 1);
    }

    #[test]
    fn ambient_is_cut_to_what_the_kernel_grants() {
        let listed = config::Capabilities { ambient: Some(vec!["CAP_KILL".into()]), ..Default::default() };
        assert_eq!(decide(Some(&listed), 40, &mut Notes::default()).ambient, 0);
    }
}
