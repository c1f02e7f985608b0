//! An overlay over the rootfs (`--overlay`): what the container changes goes elsewhere.

use super::namespaces::{Kind, Namespaces};
use crate::fault::Fault;
use rootless::id_map::IdMaps;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The annotation that asks for it: a directory, or `tmpfs`.
pub const ANNOTATION: &str = "kase.overlay";

/// The word for changes in memory; a directory of that name is `./tmpfs`.
pub const MEMORY: &str = "tmpfs";

/// What lies over the rootfs.
#[derive(Debug, PartialEq, Eq)]
pub struct Overlay {
    /// Where the changes are.
    pub upper: Upper,
    /// How the overlay marks what was removed.
    pub marks: Marks,
    /// Who is root of the user namespace that is made, outside.
    pub root: Option<(u32, u32)>,
}

/// Where the changes are.
#[derive(Debug, PartialEq, Eq)]
pub enum Upper {
    /// In a tmpfs that goes with the container.
    Memory,
    /// Below `upper` in this directory of the host, beside `work`.
    Directory(PathBuf),
}

/// The extended attributes of an overlay's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marks {
    /// `trusted.overlay.*`, which only the host's root can write.
    Trusted,
    /// `user.overlay.*` (`userxattr`), for a user namespace.
    User,
}

/// What else decides about it.
pub struct Setting<'a> {
    /// `--overlay`: a directory, or `tmpfs`, which is also what it is without a value.
    pub option: Option<&'a Path>,
    /// config.json's.
    pub annotations: Option<&'a HashMap<String, String>>,
    /// The bundle's directory, absolute.
    pub bundle: &'a Path,
    /// The rootfs, absolute.
    pub rootfs: &'a Path,
    /// The container's.
    pub namespaces: &'a Namespaces<'a>,
    /// For the user namespace that is made.
    pub maps: Option<&'a IdMaps>,
    /// Whether init is the root of some user namespace only.
    pub confined: bool,
}

/// Decides; the option counts more than the annotation.
///
/// # Errors
/// A directory in the rootfs, a container whose mounts are somebody else's.
pub fn decide(setting: &Setting<'_>) -> Result<Option<Overlay>, Fault> {
    let annotated = setting.annotations.and_then(|annotations| annotations.get(ANNOTATION));
    let (at, asked) = match (setting.option, annotated.map(String::as_str)) {
        (Some(option), _) => ("--overlay".to_string(), option),
        (None, Some(directory)) => (format!("annotations[{ANNOTATION:?}]"), Path::new(directory)),
        (None, None) => return Ok(None),
    };
    if !setting.namespaces.makes(Kind::Mount) {
        return Err(Fault::at(at, "the container has no mount namespace of its own to lay the overlay in")
            .remedy("add {\"type\": \"mount\"} to linux.namespaces, without a path"));
    }
    if asked.as_os_str().is_empty() {
        return Err(Fault::at(at, "is empty").remedy("name a directory, or use tmpfs for changes in memory"));
    }
    let upper = match asked == Path::new(MEMORY) {
        true => Upper::Memory,
        false => Upper::Directory(setting.bundle.join(asked)),
    };
    if let Upper::Directory(directory) = &upper
        && overlaps(directory, setting.rootfs)
    {
        return Err(overlapping(&at, directory));
    }
    let marks = if setting.confined { Marks::User } else { Marks::Trusted };
    let root = setting.maps.and_then(|maps| maps.uids.outside(0).zip(maps.gids.outside(0)));
    Ok(Some(Overlay { upper, marks, root }))
}

/// Whether one of the overlay's directories and the rootfs are in each other.
pub fn overlaps(directory: &Path, rootfs: &Path) -> bool {
    directory.starts_with(rootfs)
        || ["upper", "work"].iter().any(|name| rootfs.starts_with(directory.join(name)))
}

/// The fault of a directory that overlaps the rootfs.
pub fn overlapping(at: &str, directory: &Path) -> Fault {
    Fault::at(at, format!("{} and the rootfs are in each other", directory.display()))
        .remedy("name a directory beside the rootfs")
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::{LinuxNamespaceBuilder, LinuxNamespaceType};

    fn decided(
        option: Option<&str>,
        annotation: Option<&str>,
        mount: bool,
    ) -> Result<Option<Overlay>, Fault> {
        let listed = [LinuxNamespaceBuilder::default().typ(LinuxNamespaceType::Mount).build().unwrap()];
        let annotations =
            annotation.map(|value| HashMap::from([(ANNOTATION.to_string(), value.to_string())]));
        decide(&Setting {
            option: option.map(Path::new),
            annotations: annotations.as_ref(),
            bundle: Path::new("/bundle"),
            rootfs: Path::new("/bundle/rootfs"),
            namespaces: &Namespaces::decide(if mount { &listed } else { &[] }).unwrap(),
            maps: None,
            confined: false,
        })
    }

    #[test]
    fn the_option_counts_more_than_the_annotation() {
        let upper =
            |option, annotation| decided(option, annotation, true).unwrap().map(|overlay| overlay.upper);
        let directory = |path: &str| Some(Upper::Directory(path.into()));
        assert_eq!(upper(None, None), None);
        assert_eq!(upper(Some("tmpfs"), Some("/a")), Some(Upper::Memory));
        assert_eq!(upper(Some("/b"), Some("tmpfs")), directory("/b"));
        assert_eq!(upper(None, Some("tmpfs")), Some(Upper::Memory));
        assert_eq!(upper(None, Some("changes")), directory("/bundle/changes"));
    }

    #[test]
    fn an_empty_word_is_refused_with_its_place() {
        let refused = |option, annotation| decided(option, annotation, true).unwrap_err().to_string();
        assert!(refused(Some(""), Some("tmpfs")).starts_with("--overlay: "));
        assert!(refused(None, Some("")).starts_with("annotations[\"kase.overlay\"]: "));
    }

    #[test]
    fn a_directory_in_the_rootfs_is_refused_and_one_around_it_is_not() {
        assert!(decided(Some("/bundle/rootfs/tmp"), None, true).is_err());
        assert!(decided(Some("/bundle/rootfs"), None, true).is_err());
        assert!(decided(Some("/bundle"), None, true).is_ok());
        assert!(overlaps(Path::new("/bundle"), Path::new("/bundle/upper/rootfs")));
    }

    #[test]
    fn without_a_mount_namespace_of_its_own_it_is_refused() {
        assert!(decided(Some("tmpfs"), None, false).unwrap_err().to_string().starts_with("--overlay: "));
    }
}
