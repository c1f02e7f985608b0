//! What confines the process and marks its mounts: AppArmor's profile and SELinux's labels.

use super::adapt::Adapt;
use super::notes::Notes;
use crate::config;
use crate::fault::Fault;
use crate::host::facilities::Facilities;
use crate::kernel::mount::FsOption;
use std::collections::HashMap;

/// What the exec puts the process under.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Labels<'spec> {
    /// `process.apparmorProfile`.
    pub apparmor: Option<&'spec str>,
    /// `process.selinuxLabel`.
    pub selinux: Option<&'spec str>,
}

/// `linux.mountLabel`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MountLabel<'spec> {
    /// Which of the four options carries it; mount(8), "context=".
    pub option: &'static str,
    /// The label.
    pub label: &'spec str,
}

/// How a mount is labelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marking<'spec> {
    /// By an option of the file system.
    Option(MountLabel<'spec>),
    /// On its root, as an extended attribute: the file system has no such option.
    Attribute(&'spec str),
}

/// The annotation that chooses the option.
pub const CONTEXT_TYPE: &str = "run.oci.mount_context_type";

const OPTIONS: [&str; 4] = ["context", "fscontext", "defcontext", "rootcontext"];

/// Decides what the process is put under. A container that asks for confinement does not run without it, unless a
/// user's is adapted: engines send the profile that their images name, whatever the kernel has.
///
/// # Errors
/// A security module that this kernel does not have enabled, a text that it could not read.
pub fn decide<'spec>(
    process: &'spec config::Process,
    facilities: &Facilities,
    adapt: Adapt,
    notes: &mut Notes,
) -> Result<Labels<'spec>, Fault> {
    let mut labels = Labels {
        apparmor: given(process.apparmor_profile.as_deref(), "process.apparmorProfile")?,
        selinux: given(process.selinux_label.as_deref(), "process.selinuxLabel")?,
    };
    if let (Some(profile), false) = (labels.apparmor, facilities.apparmor) {
        const AT: &str = "process.apparmorProfile";
        if adapt == Adapt::No {
            return Err(Fault::at(
                AT,
                format!("{profile:?} cannot be applied: AppArmor is not enabled in this kernel"),
            )
            .remedy("boot the host with apparmor=1 security=apparmor, or leave the field out"));
        }
        notes.warn(format!(
            "{AT}: {profile:?} is left out: AppArmor is not enabled in this kernel (boot the host with apparmor=1 \
             security=apparmor)"
        ));
        labels.apparmor = None;
    }
    if labels.selinux.is_some() && !facilities.selinux {
        return Err(Fault::at(
            "process.selinuxLabel",
            "selinux label is specified in config, but selinux is disabled or not supported",
        )
        .remedy("enable SELinux on the host (`sestatus` shows it), or leave the field out"));
    }
    Ok(labels)
}

fn given<'spec>(text: Option<&'spec str>, at: &'static str) -> Result<Option<&'spec str>, Fault> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    if text.contains(|character: char| character.is_control() || character == '"') {
        return Err(Fault::at(at, format!("{text:?} is no label"))
            .remedy("take the control character or quotation mark out"));
    }
    Ok(Some(text))
}

/// Decides `linux.mountLabel`. Without SELinux it is left out with a warning: no label means anything then,
/// and the kernel would refuse the mounts.
pub fn mount_label<'spec>(
    label: Option<&'spec str>,
    annotations: Option<&HashMap<String, String>>,
    facilities: &Facilities,
    notes: &mut Notes,
) -> Result<Option<MountLabel<'spec>>, Fault> {
    let wanted = annotations.and_then(|annotations| annotations.get(CONTEXT_TYPE));
    let wanted = wanted.map_or(OPTIONS[0], String::as_str);
    let option = OPTIONS.into_iter().find(|option| *option == wanted).ok_or_else(|| {
        Fault::at(format!("annotations[{CONTEXT_TYPE:?}]"), format!("{wanted:?} is no mount context type"))
            .remedy(format!("use one of {}", OPTIONS.join(", ")))
    })?;
    let Some(label) = given(label, "linux.mountLabel")? else { return Ok(None) };
    if !facilities.selinux {
        notes.warn("linux.mountLabel: SELinux is not enabled in this kernel: mounts get no label".into());
        return Ok(None);
    }
    Ok(Some(MountLabel { option, label }))
}

/// How a new file system of this type and with these options takes the label: not if its files have labels of their
/// own (proc, sysfs), or it says its own itself.
pub fn marking<'spec>(kind: &str, options: &[&str], label: MountLabel<'spec>) -> Option<Marking<'spec>> {
    let is_label = |option: &&str| OPTIONS.contains(&option.split('=').next().unwrap_or_default());
    match kind {
        "proc" | "sysfs" => None,
        "mqueue" => Some(Marking::Attribute(label.label)),
        _ if options.iter().any(is_label) => None,
        _ => Some(Marking::Option(label)),
    }
}

impl<'spec> MountLabel<'spec> {
    /// As an option by itself.
    pub fn as_option(self) -> FsOption<'spec> {
        (self.option, Some(self.label))
    }

    /// As part of mount(2)'s data, where the label's commas need quotation marks.
    pub fn quoted(&self) -> String {
        format!("{}=\"{}\"", self.option, self.label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::adapt::Adapt;
    use serde_json::json;

    const LABEL: &str = "system_u:object_r:svirt_sandbox_file_t:s0:c715,c811";

    fn present() -> Facilities {
        Facilities { apparmor: true, selinux: true, resctrl: None }
    }

    fn process(field: &str, value: &str) -> config::Process {
        serde_json::from_value(json!({ field: value })).unwrap()
    }

    #[test]
    fn a_profile_or_label_needs_its_security_module() {
        for field in ["apparmorProfile", "selinuxLabel"] {
            let process = process(field, "docker-default");
            let labels = decide(&process, &present(), Adapt::No, &mut Notes::default()).unwrap();
            assert_eq!(labels.apparmor.or(labels.selinux), Some("docker-default"));
        }
        let label = process("selinuxLabel", "docker-default");
        let nothing = Facilities::default();
        let fault = decide(&label, &nothing, Adapt::Yes, &mut Notes::default()).unwrap_err().to_string();
        assert!(fault.starts_with("process.selinuxLabel: "), "{fault}");
        let (profile, mut notes) = (process("apparmorProfile", "docker-default"), Notes::default());
        let fault = decide(&profile, &nothing, Adapt::No, &mut notes).unwrap_err().to_string();
        assert!(fault.starts_with("process.apparmorProfile: "), "{fault}");
        assert_eq!(decide(&profile, &nothing, Adapt::Yes, &mut notes).unwrap(), Labels::default());
        assert_eq!(notes.iter().count(), 1, "it is said");
    }

    #[test]
    fn an_empty_label_is_none_and_a_broken_one_is_refused() {
        assert_eq!(
            decide(&process("apparmorProfile", ""), &Facilities::default(), Adapt::No, &mut Notes::default())
                .unwrap(),
            Labels::default()
        );
        assert!(
            decide(&process("apparmorProfile", "a\nb"), &present(), Adapt::No, &mut Notes::default())
                .is_err()
        );
        assert!(mount_label(Some("a\",b"), None, &present(), &mut Notes::default()).is_err());
    }

    #[test]
    fn a_mount_label_has_the_type_of_the_annotation() {
        let option = |kind: Option<&str>| {
            let annotations = kind.map(|kind| HashMap::from([(CONTEXT_TYPE.to_string(), kind.to_string())]));
            let decided = mount_label(Some(LABEL), annotations.as_ref(), &present(), &mut Notes::default());
            decided.map(|label| label.unwrap().option).map_err(|fault| fault.to_string())
        };
        assert_eq!(option(None), Ok("context"));
        assert_eq!(option(Some("rootcontext")), Ok("rootcontext"));
        assert!(option(Some("text")).unwrap_err().starts_with("annotations[\"run.oci.mount_context_type\"]"));
    }

    #[test]
    fn without_selinux_a_mount_label_is_left_out_with_a_warning() {
        let mut notes = Notes::default();
        assert_eq!(mount_label(Some(LABEL), None, &Facilities::default(), &mut notes).unwrap(), None);
        assert_eq!(notes.iter().count(), 1);
    }

    #[test]
    fn new_file_systems_are_marked_each_in_its_way() {
        let label = MountLabel { option: "context", label: LABEL };
        let of = |kind: &str, options: &[&str]| marking(kind, options, label);
        assert_eq!(of("proc", &[]), None);
        assert_eq!(of("tmpfs", &["mode=755"]), Some(Marking::Option(label)));
        assert_eq!(of("tmpfs", &["context=\"a\""]), None);
        assert_eq!(of("mqueue", &[]), Some(Marking::Attribute(LABEL)));
        assert_eq!(label.quoted(), format!("context=\"{LABEL}\""));
    }
}
