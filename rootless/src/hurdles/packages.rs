//! How each distribution installs what containers use.

use crate::root::Root;

/// What may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
        self.remedy_in(&Root::host())
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

    /// As [`Package::remedy`], with `/etc` and `/usr` below another root.
    #[must_use]
    pub fn remedy_in(self, root: &Root) -> String {
        let release = root
            .read("/etc/os-release")
            .ok()
            .flatten()
            .or_else(|| root.read("/usr/lib/os-release").ok().flatten())
            .unwrap_or_default();
        self.install(&release)
    }

    fn install(self, release: &str) -> String {
        let field = |name: &str| {
            release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
        };
        let (id, like) = (field("ID"), field("ID_LIKE"));
        let names = [id, like].into_iter().flat_map(|value| value.trim_matches(['"', '\'']).split(' '));
        let found = names.into_iter().find_map(|name| {
            let family = match name {
                "debian" | "ubuntu" => Family::Apt,
                "fedora" | "rhel" | "centos" | "amzn" => Family::Dnf,
                "alpine" => Family::Apk,
                "arch" => Family::Pacman,
                "suse" | "opensuse" | "opensuse-leap" | "opensuse-tumbleweed" => Family::Zypper,
                "gentoo" => Family::Emerge,
                _ => return None,
            };
            Some((family.command(), self.named(family)))
        });
        match found {
            Some((command, package)) => format!("{AS_ROOT}{command} {package}"),
            None => format!("install {}", self.described()),
        }
    }

    fn named(self, family: Family) -> &'static str {
        match (self, family) {
            (Self::IdHelpers, Family::Apt) => "uidmap",
            (Self::IdHelpers, Family::Dnf) => "shadow-utils",
            (Self::IdHelpers, Family::Apk) => "shadow-uidmap",
            (Self::IdHelpers, Family::Pacman | Family::Zypper) => "shadow",
            (Self::IdHelpers, Family::Emerge) => "sys-apps/shadow",
            (Self::FuseOverlayfs, Family::Emerge) => "sys-fs/fuse-overlayfs",
            (Self::FuseOverlayfs, _) => "fuse-overlayfs",
            (Self::SessionBus, Family::Apt) => "dbus-user-session",
            (Self::SessionBus, Family::Dnf) => "dbus-broker",
            (Self::SessionBus, Family::Zypper) => "dbus-1-daemon",
            (Self::SessionBus, Family::Emerge) => "sys-apps/dbus",
            (Self::SessionBus, Family::Apk | Family::Pacman) => "dbus",
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

#[derive(Debug, Clone, Copy)]
enum Family {
    Apt,
    Dnf,
    Apk,
    Pacman,
    Zypper,
    Emerge,
}

impl Family {
    fn command(self) -> &'static str {
        match self {
            Self::Apt => "apt install",
            Self::Dnf => "dnf install",
            Self::Apk => "apk add",
            Self::Pacman => "pacman -S",
            Self::Zypper => "zypper install",
            Self::Emerge => "emerge",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::stand_in::StandIn;

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
