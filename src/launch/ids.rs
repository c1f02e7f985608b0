//! Writes the id maps of a container's user namespace.

use crate::fault::Fault;
use crate::host::Host;
use crate::kernel::descriptor::close_on_exec_from;
use crate::plan::Plan;
use crate::trace;
use rootless::caller::Caller;
use rootless::id_map::IdMaps;
use rootless::id_writer::{self, Means};

/// The maps, until they are written.
#[derive(Debug)]
pub struct Unmapped<'a> {
    caller: &'a Caller,
    maps: Option<(&'a IdMaps, Means)>,
}

impl<'a> Unmapped<'a> {
    /// Looks for what will write the plan's maps, before a process exists.
    pub fn of(plan: &'a Plan<'_>, host: &'a Host) -> anyhow::Result<Self> {
        let caller = &host.caller;
        let means = |maps| {
            let means = Means::choose(caller, maps).map_err(|error| {
                let fault = Fault::at("linux.uidMappings", "find the programs that map subordinate ids");
                let diagnosis = error.diagnosis(caller);
                diagnosis
                    .into_iter()
                    .fold(fault, |fault, diagnosis| fault.remedy(diagnosis.remedy))
                    .caused_by(error)
            })?;
            anyhow::Ok((maps, means))
        };
        Ok(Self { caller, maps: plan.maps.as_ref().map(means).transpose()? })
    }

    /// Writes them for the user namespace of the process `pid`. The second call does nothing.
    pub fn write(&mut self, pid: i32) -> anyhow::Result<()> {
        let Some((maps, means)) = self.maps.take() else { return Ok(()) };
        trace::step("id maps");
        if matches!(means, Means::Helpers { .. }) {
            // They are others' programs, with root's rights, and not to hold what kase was started with.
            close_on_exec_from(3)?;
        }
        id_writer::write(pid.unsigned_abs(), maps, &means).map_err(|error| {
            let doing = "map the container's user and group ids";
            let fault = match error.diagnosis(self.caller) {
                Some(diagnosis) => {
                    Fault::doing(format!("{doing} ({})", diagnosis.cause)).remedy(diagnosis.remedy)
                }
                None => Fault::doing(doing),
            };
            fault.caused_by(error)
        })
    }
}
