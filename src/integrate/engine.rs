//! The engines, and where each has its configuration.

use crate::fault::Fault;
use std::path::PathBuf;

/// Who is to run its containers with kase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Docker of the whole machine.
    Docker,
    /// Docker of one user.
    DockerRootless,
    /// Podman and buildah.
    Podman,
    /// containerd, for Kubernetes.
    Containerd,
    /// CRI-O.
    Crio,
}

/// When the engine takes kase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// For each container, unless another runtime is asked for. Not so containerd, whose default stays.
    Default,
    /// For those that ask for it.
    OnRequest,
}

impl Engine {
    /// The names by which they are asked for.
    pub const NAMES: [&'static str; 5] = ["docker", "docker-rootless", "podman", "containerd", "crio"];

    /// The engine of this name.
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Docker, Self::DockerRootless, Self::Podman, Self::Containerd, Self::Crio];
        all.into_iter().find(|engine| Self::NAMES[*engine as usize] == name)
    }

    /// The usual directory of its configuration.
    pub fn directory(self, uid: u32) -> anyhow::Result<PathBuf> {
        let users = |name| {
            let none =
                || Fault::doing("your home directory is not known").remedy("set HOME, or use --config-dir");
            dirs::config_dir().map(|directory| directory.join(name)).ok_or_else(none)
        };
        Ok(match self {
            Self::Docker => "/etc/docker".into(),
            Self::Podman if uid == 0 => "/etc/containers".into(),
            Self::Containerd => "/etc/containerd".into(),
            Self::Crio => "/etc/crio".into(),
            Self::DockerRootless => users("docker")?,
            Self::Podman => users("containers")?,
        })
    }

    /// The file in it, and how the names of the records begin that lie in the directory too.
    pub fn files(self) -> (&'static str, &'static str) {
        match self {
            Self::Docker | Self::DockerRootless => ("daemon.json", "daemon.json"),
            Self::Podman => ("containers.conf.d/kase.conf", "podman-kase.conf"),
            Self::Containerd => ("config.toml", "config.toml"),
            Self::Crio => ("crio.conf.d/kase.conf", "crio-kase.conf"),
        }
    }
}
