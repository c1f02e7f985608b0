//! What planning needs to know of this machine and of who is asking.

use crate::fault::{Fault, OrFault};
use rootless::caller::{Caller, Standing};
use rootless::subid::Subordinate;

/// The facts, looked up once.
#[derive(Debug)]
pub struct Host {
    /// Who runs kase.
    pub caller: Caller,
    /// The ids beside its own that the caller may map.
    pub subordinate: Subordinate,
    /// The highest capability that the kernel knows.
    pub last_capability: u8,
}

/// Whether the caller's subordinate ids matter; root and a map of one's own id do without the look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subids {
    /// Look them up.
    Needed,
    /// Leave the files closed.
    Unneeded,
}

impl Host {
    /// Looks.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn look(caller: Caller, subids: Subids) -> anyhow::Result<Self> {
        let subordinate = if caller.standing == Standing::Root || subids == Subids::Unneeded {
            Subordinate::default()
        } else {
            Subordinate::look(&caller)
                .or_fault(|| Fault::doing("read the subordinate ids from /etc/subuid and /etc/subgid"))?
        };
        Ok(Self { caller, subordinate, last_capability: crate::kernel::capability::last() })
    }

    /// A host that is told, for tests of decisions.
    #[cfg(test)]
    pub fn assumed(caller: Caller) -> Self {
        Self { caller, subordinate: Subordinate::default(), last_capability: 40 }
    }
}
