//! Hard limits that only kase may raise.

use crate::fault::{Fault, OrFault};
use crate::kernel::process::{limit, prlimit};
use crate::plan::process::Limit;

/// Raises the hard limits of the process `pid` to those of `process.rlimits`, while it still has our ids and
/// before a user namespace takes the right from it. The exact values are init's own last step: lowering needs no
/// privilege, and they may be too tight for what init has to do before.
///
/// # Errors
/// A hard limit above kase's own, without CAP_SYS_RESOURCE.
pub fn raise(limits: &[Limit], pid: i32) -> anyhow::Result<()> {
    for wanted in limits {
        let (soft, hard) = limit(wanted.resource)?;
        if wanted.hard <= hard {
            continue;
        }
        prlimit(pid, wanted.resource, soft, wanted.hard).or_fault(|| {
            Fault::at(wanted.at.field(".hard"), format!("raise {} to {}", wanted.name, wanted.hard)).remedy(
                format!(
                    "ask for at most {hard}, the hard limit that kase was started with, or raise that one"
                ),
            )
        })?;
    }
    Ok(())
}
