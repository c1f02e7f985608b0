//! Which properties of its scope a container's annotations may set.
//!
//! An image or a pod's author may have written them, and systemd does what they say with its own rights: one makes it
//! power the machine off when the container ends (`SuccessAction`), one starts or stops other units (`Wants`,
//! `Conflicts`), one takes any process of the host into the scope, and ends it there (`PIDs`). CVE-2024-3154.

/// What is taken of `org.systemd.property.*` (`--systemd-properties`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Properties {
    /// What is about the scope alone.
    #[default]
    Scope,
    /// Whatever systemd knows.
    Any,
}

/// Of systemd.scope(5), systemd.kill(5) and systemd.unit(5): how the scope ends, and what it is called. Before and
/// After order it among the units that start or stop with it, and start none.
const NAMES: [&str; 23] = [
    "After",
    "Before",
    "CollectMode",
    "CoredumpReceive",
    "DefaultDependencies",
    "Delegate",
    "Description",
    "DisableControllers",
    "Documentation",
    "FinalKillSignal",
    "IPAccounting",
    "IPAddressAllow",
    "IPAddressDeny",
    "KillMode",
    "KillSignal",
    "OOMPolicy",
    "PartOf",
    "RestrictNetworkInterfaces",
    "RuntimeMaxUSec",
    "RuntimeRandomizedExtraUSec",
    "SendSIGHUP",
    "SendSIGKILL",
    "TimeoutStopUSec",
];

/// What the properties of systemd.resource-control(5) begin with.
const RESOURCES: [&str; 10] = [
    "AllowedCPUs",
    "AllowedMemoryNodes",
    "BlockIO",
    "CPU",
    "Default",
    "Device",
    "IO",
    "ManagedOOM",
    "Memory",
    "Tasks",
];

impl Properties {
    /// Whether this property is taken.
    pub fn take(self, name: &str) -> bool {
        // The same while the system starts.
        let usual = name.strip_prefix("Startup").unwrap_or(name);
        self == Self::Any
            || NAMES.contains(&name)
            || name.starts_with("SocketBind")
            || RESOURCES.iter().any(|begin| usual.starts_with(begin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_engines_and_the_peers_documents_set_is_taken() {
        for name in [
            "TimeoutStopUSec",
            "CollectMode",
            "RuntimeMaxUSec",
            "After",
            "DefaultDependencies",
            "Delegate",
            "SendSIGHUP",
            "Description",
            "OOMPolicy",
            "MemorySwapMax",
            "MemoryHigh",
            "DefaultMemoryLow",
            "StartupCPUWeight",
            "StartupAllowedCPUs",
            "IOReadBandwidthMax",
            "DeviceAllow",
            "TasksMax",
            "ManagedOOMPreference",
            "IPAddressDeny",
        ] {
            assert!(Properties::Scope.take(name), "{name}");
        }
    }

    #[test]
    fn what_reaches_beyond_the_scope_is_not() {
        for name in [
            "SuccessAction",
            "FailureAction",
            "JobTimeoutAction",
            "StartLimitAction",
            "OnFailure",
            "OnSuccess",
            "Wants",
            "Requires",
            "BindsTo",
            "Upholds",
            "Conflicts",
            "PropagatesStopTo",
            "RequiresMountsFor",
            "PIDs",
            "Slice",
            "User",
            "BPFProgram",
            "IPIngressFilterPath",
            "RebootArgument",
            "successaction",
        ] {
            assert!(!Properties::Scope.take(name), "{name}");
            assert!(Properties::Any.take(name), "{name}");
        }
    }
}
