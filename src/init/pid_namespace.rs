//! Enters a pid namespace that others are in already.
//!
//! Whoever has CAP_SYS_PTRACE there may look into any process of it (CVE-2016-9962), and through one that still has the
//! host's root or a descriptor of the host's, at the host. So a process prepares all outside of it, and the one that it
//! makes inside has the container's root, user and capabilities from its first instruction on.

use crate::fault::{Fault, OrFault};
use crate::handshake::{InitEnd, ToInit, ToKase};
use crate::kernel::clone::{Child, Cloned, clone3};
use crate::kernel::process::exit_now;
use crate::log;
use crate::trace;

/// Makes the process that goes on, as kase's child, and ends this one. Returns only in the new process.
///
/// This process must have joined the namespace, which counts for what it makes, and have no descriptor that the program
/// may not have but the way to kase.
///
/// # Errors
/// Those of clone3(2), or that kase is gone.
pub fn enter(kase: &InitEnd) -> anyhow::Result<()> {
    match clone3(0, Child::OfOurParent, None)
        .or_fault(|| Fault::doing("make the process in the pid namespace"))?
    {
        // What it says must not come before what its maker says of it.
        Cloned::New => kase.expect(ToInit::Begin).map(drop),
        Cloned::Caller(process) => {
            // The new process ends at its first word if kase is gone, so there is nobody to tell.
            let _ = kase.say(&ToKase::Born(process.pidfd));
            exit_now(0)
        }
    }
}

/// Has nothing written to the trace and the log from here on, whose descriptors are about to be closed.
pub fn leave_logs() {
    trace::leave();
    log::leave();
}
