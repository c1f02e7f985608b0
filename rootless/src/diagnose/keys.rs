//! The kernel's quota of keys, of which every container's session takes one: keyrings(7).

use crate::caller::{Caller, Standing};
use crate::diagnosis::Diagnosis;
use crate::sysroot::Sysroot;

/// The quota of the caller, if it is (nearly) used up: why add_key(2) or keyctl(2) gave EDQUOT.
#[must_use]
pub fn keys(caller: &Caller) -> Option<Diagnosis> {
    keys_in(&Sysroot::host(), caller)
}

fn keys_in(root: &Sysroot, caller: &Caller) -> Option<Diagnosis> {
    let uid = caller.uid;
    let users = root.readable("/proc/key-users")?;
    // `UID: USAGE KEYS/INSTANTIATED HELD/MOST BYTES/MOST`
    let line = users.lines().find(|line| line.trim_start().starts_with(&format!("{uid}:")))?;
    let mut pairs = line.split_whitespace().skip(3).map(|field| {
        let (held, most) = field.split_once('/')?;
        Some((held.parse::<u64>().ok()?, most.parse::<u64>().ok()?))
    });
    let (held, most) = pairs.next()??;
    let (bytes, most_bytes) = pairs.next()??;
    let prefix = if caller.standing == Standing::Root { "root_" } else { "" };
    let raise = |name: &str, most: u64| format!("kernel.keys.{prefix}{name}={}", most.saturating_mul(10));
    // A new session takes one key and a few bytes for its name.
    let used_up = held >= most || bytes + 64 >= most_bytes;
    let outside = caller.uid_outside();
    used_up.then(|| {
        Diagnosis::new(
            format!(
                "uid {outside} has used up its quota of keys: {held} of {most}, {bytes} of {most_bytes} bytes"
            ),
            format!("run as root: sysctl -w {} {}", raise("maxkeys", most), raise("maxbytes", most_bytes)),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sysroot::stand_in::StandIn;

    #[test]
    fn a_quota_that_is_used_up_is_told_with_what_raises_it() {
        let host = StandIn::new().file(
            "/proc/key-users",
            "    0:     9 8/8 3/1000000 48/25000000\n 1000: 5 5/5 200/200 90/20000\n",
        );
        let user = Caller::assumed(Standing::User, 1000, 1000);
        let diagnosis = keys_in(&host.root(), &user).unwrap();
        assert_eq!(
            diagnosis.remedy,
            "run as root: sysctl -w kernel.keys.maxkeys=2000 kernel.keys.maxbytes=200000"
        );
        assert!(keys_in(&host.root(), &Caller::assumed(Standing::Root, 0, 0)).is_none());
        assert!(keys_in(&host.root(), &Caller::assumed(Standing::User, 7, 7)).is_none());
    }
}
