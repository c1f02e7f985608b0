//! What the kernel remembers of a process beside its ids: how it is scheduled, where its memory lies, which
//! machine it sees, what confines it. The same for init and for a process that is added.

use super::adapt::Adapt;
use super::labels::{self, Labels};
use super::memory_policy::{self, MemoryPolicy};
use super::notes::Notes;
use super::personality;
use super::scheduling::{self, Affinity, IoPriority, Scheduler};
use crate::config;
use crate::fault::Fault;
use crate::host::facilities::{Facilities, Facility};
use oci_spec::runtime::{Linux, LinuxPersonalityDomain};

/// Decided; what is nothing stays as kase has it.
#[derive(Debug, Default)]
pub struct ProcessAttributes<'spec> {
    /// `process.scheduler`.
    pub scheduler: Option<Scheduler>,
    /// `process.ioPriority`.
    pub io_priority: Option<IoPriority>,
    /// `process.execCPUAffinity`; init's is every processor of its cgroup.
    pub affinity: Affinity,
    /// `process.apparmorProfile` and `process.selinuxLabel`.
    pub labels: Labels<'spec>,
    /// `linux.memoryPolicy`.
    pub memory_policy: Option<MemoryPolicy>,
    /// `linux.personality`.
    pub personality: Option<LinuxPersonalityDomain>,
}

/// Decides them, from the process and from the container that it is in.
///
/// # Errors
/// The first that cannot work, with its place.
pub fn decide<'spec>(
    process: Option<&'spec config::Process>,
    linux: Option<&Linux>,
    facilities: &Facilities,
    adapt: Adapt,
    notes: &mut Notes,
) -> Result<ProcessAttributes<'spec>, Fault> {
    let of_linux = ProcessAttributes {
        memory_policy: linux
            .and_then(|linux| linux.memory_policy().as_ref())
            .map(memory_policy::decide)
            .transpose()?,
        personality: linux
            .and_then(|linux| linux.personality().as_ref())
            .map(personality::decide)
            .transpose()?,
        ..ProcessAttributes::default()
    };
    let Some(process) = process else { return Ok(of_linux) };
    Ok(ProcessAttributes {
        scheduler: process.scheduler.as_ref().map(scheduling::scheduler).transpose()?,
        io_priority: process.io_priority.as_ref().map(scheduling::io_priority).transpose()?,
        affinity: process
            .exec_cpu_affinity
            .as_ref()
            .map(scheduling::affinity)
            .transpose()?
            .unwrap_or_default(),
        labels: labels::decide(process, facilities, adapt, notes)?,
        ..of_linux
    })
}

/// What the host must be asked for to plan these.
pub fn needs(process: Option<&config::Process>, linux: Option<&Linux>) -> Vec<Facility> {
    let filled = |text: Option<&String>| text.is_some_and(|text| !text.is_empty());
    let mut needed = Vec::new();
    if filled(process.and_then(|process| process.apparmor_profile.as_ref())) {
        needed.push(Facility::AppArmor);
    }
    if filled(process.and_then(|process| process.selinux_label.as_ref()))
        || filled(linux.and_then(|linux| linux.mount_label().as_ref()))
    {
        needed.push(Facility::Selinux);
    }
    if linux.is_some_and(|linux| linux.intel_rdt().is_some()) {
        needed.push(Facility::Resctrl);
    }
    needed
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_the_config_needs_is_asked_for() {
        let asked = |value| {
            let config: config::Config = serde_json::from_value(value).unwrap();
            needs(config.process.as_deref(), config.linux.as_deref())
        };
        assert_eq!(asked(json!({"process": {"apparmorProfile": ""}, "linux": {"mountLabel": ""}})), []);
        assert_eq!(asked(json!({"process": {"apparmorProfile": "a"}})), [Facility::AppArmor]);
        assert_eq!(asked(json!({"process": {"selinuxLabel": "a"}})), [Facility::Selinux]);
        assert_eq!(
            asked(json!({"linux": {"mountLabel": "a", "intelRdt": {}}})),
            [Facility::Selinux, Facility::Resctrl]
        );
    }

    #[test]
    fn the_containers_come_with_every_process_and_without_one() {
        let linux: Linux = serde_json::from_value(json!({"personality": {"domain": "LINUX32"}})).unwrap();
        let process: config::Process =
            serde_json::from_value(json!({"ioPriority": {"class": "IOPRIO_CLASS_BE"}})).unwrap();
        let facilities = Facilities::default();
        assert!(
            decide(None, Some(&linux), &facilities, Adapt::No, &mut Notes::default())
                .unwrap()
                .personality
                .is_some()
        );
        let both =
            decide(Some(&process), Some(&linux), &facilities, Adapt::No, &mut Notes::default()).unwrap();
        assert!(both.personality.is_some() && both.io_priority.is_some());
    }
}
