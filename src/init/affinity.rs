//! On which processors a container's processes run.

use crate::fault::{Fault, OrFault};
use crate::kernel::schedule::set_affinity;
use crate::plan::number_list::Mask;
use crate::plan::scheduling::Affinity;

/// In kase, before a process is added to a container: it inherits this.
///
/// # Errors
/// Processors that kase may not use.
pub fn begin(affinity: &Affinity) -> anyhow::Result<()> {
    if affinity.initial.is_empty() {
        return Ok(());
    }
    set_affinity(0, affinity.initial.words()).or_fault(|| {
        Fault::at("process.execCPUAffinity.initial", "set the CPU affinity before the container's cgroup")
            .remedy("name processors that kase may use: `taskset -p $$` shows them")
    })
}

/// Once this process is in the container's cgroup: it may use every processor of that, whatever kase was started
/// with, unless the configuration says otherwise. Init's never does.
///
/// # Errors
/// Processors that the container may not use.
pub fn settle(affinity: &Affinity) -> anyhow::Result<()> {
    if !affinity.last.is_empty() {
        return set_affinity(0, affinity.last.words()).or_fault(|| {
            Fault::at("process.execCPUAffinity.final", "set the CPU affinity in the container's cgroup")
                .remedy("name processors of linux.resources.cpu.cpus and of the host's /sys/devices/system/cpu/online")
        });
    }
    // With `initial` alone nothing is set again: the kernel keeps it as far as the cgroup has these processors.
    if affinity.initial.is_empty()
        && let Err(error) = set_affinity(0, Mask::all().words())
    {
        tracing::warn!("the container keeps the CPU affinity of kase: {error}");
    }
    Ok(())
}
