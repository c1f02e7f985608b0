//! Resource limits of another process.

use crate::fault::{Fault, OrFault};
use crate::kernel::process::{limit, prlimit};
use crate::plan::process::Limit;

/// Sets `process.rlimits`. One that is so already is left alone: setting it can need a privilege that keeping
/// it does not.
///
/// # Errors
/// A hard limit above kase's own, without CAP_SYS_RESOURCE.
pub fn set(limits: &[Limit], pid: i32) -> anyhow::Result<()> {
    for wanted in limits {
        let own = limit(wanted.resource)?;
        if own == (wanted.soft, wanted.hard) {
            continue;
        }
        prlimit(pid, wanted.resource, wanted.soft, wanted.hard).or_fault(|| {
            let doing = format!("set {} to {} (hard: {})", wanted.name, wanted.soft, wanted.hard);
            Fault::at(wanted.at, doing).remedy(format!(
                "ask for at most {}, the hard limit that kase was started with, or raise that one",
                own.1
            ))
        })?;
    }
    Ok(())
}
