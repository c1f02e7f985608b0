//! The hooks of config.json, by kind.

use crate::fault::Fault;
use crate::hook::Name;
use oci_spec::runtime::{Hook, Hooks as Listed};

/// All six lists; the names are the specification's.
#[derive(Debug, Default, Clone, Copy)]
pub struct Hooks<'spec>(Option<&'spec Listed>);

impl<'spec> Hooks<'spec> {
    /// The hooks of one kind, in order.
    pub fn of(&self, kind: Name) -> &'spec [Hook] {
        let Some(listed) = self.0 else { return &[] };
        let hooks = match kind {
            Name::Prestart => listed.prestart(),
            Name::CreateRuntime => listed.create_runtime(),
            Name::CreateContainer => listed.create_container(),
            Name::StartContainer => listed.start_container(),
            Name::Poststart => listed.poststart(),
            Name::Poststop => listed.poststop(),
        };
        hooks.as_deref().unwrap_or_default()
    }

    /// Whether kase has any to run before the root changes.
    pub fn runtime_has_some(&self) -> bool {
        !self.of(Name::Prestart).is_empty() || !self.of(Name::CreateRuntime).is_empty()
    }
}

/// Checks every hook.
///
/// # Errors
/// A path that is not absolute, a timeout that is not positive.
pub fn decide(listed: Option<&Listed>) -> Result<Hooks<'_>, Fault> {
    let hooks = Hooks(listed);
    for kind in Name::ALL {
        for (index, hook) in hooks.of(kind).iter().enumerate() {
            let at = |field: &str| format!("hooks.{}[{index}].{field}", kind.word());
            if !hook.path().is_absolute() {
                return Err(Fault::at(
                    at("path"),
                    format!("{:?} is not an absolute path", hook.path().display().to_string()),
                )
                .remedy("give the program's whole path on the host"));
            }
            if hook.timeout().is_some_and(|seconds| seconds <= 0) {
                return Err(Fault::at(at("timeout"), "is not greater than zero")
                    .remedy("give it in seconds, or leave it out"));
            }
        }
    }
    Ok(hooks)
}
