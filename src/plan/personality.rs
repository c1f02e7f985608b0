//! Which machine programs see: `linux.personality`.

use crate::fault::Fault;
use oci_spec::runtime::{LinuxPersonality, LinuxPersonalityDomain};

/// Decides `linux.personality`.
///
/// # Errors
/// Any flag: the specification has none yet.
pub fn decide(listed: &LinuxPersonality) -> Result<LinuxPersonalityDomain, Fault> {
    if let Some(flag) = listed.flags().as_ref().and_then(|flags| flags.first()) {
        return Err(Fault::at("linux.personality.flags[0]", format!("{flag:?} is not supported"))
            .remedy("leave flags out: the runtime specification allows none so far"));
    }
    Ok(listed.domain())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_personality_has_a_domain_and_no_flags() {
        let decided =
            |value: Value| decide(&serde_json::from_value(value).unwrap()).map_err(|fault| fault.to_string());
        assert_eq!(decided(json!({"domain": "LINUX"})), Ok(LinuxPersonalityDomain::PerLinux));
        assert_eq!(
            decided(json!({"domain": "LINUX32", "flags": []})),
            Ok(LinuxPersonalityDomain::PerLinux32)
        );
        let fault = decided(json!({"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]})).unwrap_err();
        assert!(fault.starts_with("linux.personality.flags[0]"), "{fault}");
    }
}
