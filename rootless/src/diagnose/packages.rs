//! How each distribution installs what containers use.

use crate::sysroot::Sysroot;

/// What may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Package {
    /// newuidmap(1) and newgidmap(1).
    IdHelpers,
    /// fuse-overlayfs(1).
    FuseOverlayfs,
    /// The message bus of a user's session.
    SessionBus,
}

impl Package {
    /// The command that installs it here, by os-release(5); in general words where the distribution is not
    /// known.
    #[must_use]
    pub fn remedy(self) -> String {
        self.remedy_in(&Sysroot::host())
    }

    /// The command that installs it here, and the one that then makes use of it.
    #[must_use]
    pub fn remedy_and(self, then: &str) -> String {
        let install = self.remedy();
        match install.starts_with(AS_ROOT) {
            true => format!("{install} && {then}"),
            false => format!("{install}, then {AS_ROOT}{then}"),
        }
    }

    pub(crate) fn remedy_in(self, root: &Sysroot) -> String {
        let release = root.readable("/etc/os-release").or_else(|| root.readable("/usr/lib/os-release"));
        self.install(&release.unwrap_or_default())
    }

    fn install(self, release: &str) -> String {
        let field = |name: &str| {
            release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
        };
        let (id, like) = (field("ID"), field("ID_LIKE"));
        let mut names = [id, like].into_iter().flat_map(|value| value.trim_matches(['"', '\'']).split(' '));
        let family = names.find_map(|name| FAMILIES.iter().find(|(members, ..)| members.contains(&name)));
        match family {
            Some((_, command, packages)) => format!("{AS_ROOT}{command} {}", packages[self as usize]),
            None => format!("install {}", self.described()),
        }
    }

    fn described(self) -> &'static str {
        match self {
            Self::IdHelpers => "the package with newuidmap and newgidmap (uidmap, or shadow)",
            Self::FuseOverlayfs => "fuse-overlayfs",
            Self::SessionBus => "the package that gives each user a message bus (dbus-user-session, or dbus)",
        }
    }
}

/// How a remedy that is a command begins.
const AS_ROOT: &str = "run as root: ";

/// Distributions that install alike, as os-release(5) has their names: those, their command, and what they call each
/// [`Package`], in its order.
const FAMILIES: [(&[&str], &str, [&str; 3]); 6] = [
    (&["debian", "ubuntu"], "apt install", ["uidmap", "fuse-overlayfs", "dbus-user-session"]),
    (&["fedora", "rhel", "centos", "amzn"], "dnf install", ["shadow-utils", "fuse-overlayfs", "dbus-broker"]),
    (&["alpine"], "apk add", ["shadow-uidmap", "fuse-overlayfs", "dbus"]),
    (&["arch"], "pacman -S", ["shadow", "fuse-overlayfs", "dbus"]),
    (
        &["suse", "opensuse", "opensuse-leap", "opensuse-tumbleweed"],
        "zypper install",
        ["shadow", "fuse-overlayfs", "dbus-1-daemon"],
    ),
    (&["gentoo"], "emerge", ["sys-apps/shadow", "sys-fs/fuse-overlayfs", "sys-apps/dbus"]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sysroot::stand_in::StandIn;

    #[test]
    fn each_distribution_installs_by_its_own_words() {
        for (release, how) in [
            ("NAME=x\nID=debian\n", "apt install uidmap"),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", "apt install uidmap"),
            ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", "dnf install shadow-utils"),
            ("ID=alpine\n", "apk add shadow-uidmap"),
            ("ID=manjaro\nID_LIKE=arch\n", "pacman -S shadow"),
            ("ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n", "zypper install shadow"),
        ] {
            assert_eq!(Package::IdHelpers.install(release), format!("run as root: {how}"), "{release}");
        }
        assert!(Package::IdHelpers.install("ID=plan9\n").starts_with("install the package"));
        assert!(Package::SessionBus.install("").starts_with("install the package"));
        assert_eq!(Package::FuseOverlayfs.install("ID=fedora"), "run as root: dnf install fuse-overlayfs");
    }

    #[test]
    fn the_second_os_release_is_read_where_there_is_no_first() {
        let host = StandIn::new().file("/usr/lib/os-release", "ID=alpine\n");
        assert_eq!(Package::SessionBus.remedy_in(&host.root()), "run as root: apk add dbus");
    }
}
