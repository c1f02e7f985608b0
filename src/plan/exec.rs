//! The process that `exec` adds: the container's own, changed by what the command line says.

use crate::config;

/// What the command line says. What is absent leaves what the container's process has, and so do an empty profile
/// and an empty label: they never take confinement away.
#[derive(Debug, Default)]
pub struct Changes {
    /// argv.
    pub arguments: Vec<String>,
    /// `--cwd`.
    pub cwd: Option<String>,
    /// `--env`, each `NAME=value`, after the container's.
    pub environment: Vec<String>,
    /// `--user`, looked up.
    pub user: Option<(u32, u32)>,
    /// `--additional-gids`.
    pub additional_gids: Vec<u32>,
    /// `--tty`.
    pub terminal: bool,
    /// `--no-new-privs`.
    pub no_new_privileges: bool,
    /// `--cap`.
    pub capabilities: Vec<String>,
    /// `--apparmor`.
    pub apparmor: Option<String>,
    /// `--process-label`.
    pub label: Option<String>,
}

/// The container's process with the changes.
pub fn change(container: &config::Process, changes: Changes) -> config::Process {
    let mut process = container.clone();
    process.args = Some(changes.arguments);
    process.terminal = Some(changes.terminal);
    process.console_size = None;
    process.oom_score_adj = None;
    if let Some(cwd) = changes.cwd {
        process.cwd = cwd;
    }
    process.env.get_or_insert_default().extend(changes.environment);
    if let Some((uid, gid)) = changes.user {
        process.user.set_uid(uid);
        process.user.set_gid(gid);
    }
    let mut groups = process.user.additional_gids().clone().unwrap_or_default();
    groups.extend(changes.additional_gids);
    process.user.set_additional_gids(Some(groups));
    if changes.no_new_privileges {
        process.no_new_privileges = Some(true);
    }
    process.apparmor_profile = filled(changes.apparmor).or(process.apparmor_profile);
    process.selinux_label = filled(changes.label).or(process.selinux_label);
    let sets = process.capabilities.get_or_insert_default();
    for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
        set.get_or_insert_default().extend(changes.capabilities.iter().map(|name| full_name(name)));
    }
    // The kernel takes an ambient capability only if it is inheritable too, and that set stays as it is.
    let inheritable = sets.inheritable.clone().unwrap_or_default();
    let named = changes.capabilities.iter().map(|name| full_name(name));
    sets.ambient.get_or_insert_default().extend(named.filter(|name| inheritable.contains(name)));
    process
}

/// `--process`'s, with what it leaves out taken from the container's.
pub fn complete(container: &config::Process, mut given: config::Process) -> config::Process {
    given.capabilities = given.capabilities.or_else(|| container.capabilities.clone());
    given.rlimits = given.rlimits.filter(|limits| !limits.is_empty()).or_else(|| container.rlimits.clone());
    given.apparmor_profile = filled(given.apparmor_profile).or_else(|| container.apparmor_profile.clone());
    given.selinux_label = filled(given.selinux_label).or_else(|| container.selinux_label.clone());
    given.scheduler = given.scheduler.or_else(|| container.scheduler.clone());
    given.io_priority = given.io_priority.or_else(|| container.io_priority.clone());
    given.exec_cpu_affinity = given.exec_cpu_affinity.or_else(|| container.exec_cpu_affinity.clone());
    given
}

fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// `kill`, `KILL` and `CAP_KILL` are the same.
fn full_name(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container() -> config::Process {
        let text = r#"{"cwd": "/", "args": ["init"], "env": ["A=1"], "user": {"uid": 5, "gid": 6},
            "capabilities": {"bounding": ["CAP_KILL"], "ambient": ["CAP_KILL"]}}"#;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_capability_is_added_to_bounding_effective_and_permitted_only() {
        let changes = Changes { capabilities: vec!["net_raw".into()], ..Changes::default() };
        let sets = change(&container(), changes).capabilities.unwrap();
        assert_eq!(sets.bounding.unwrap(), ["CAP_KILL", "CAP_NET_RAW"]);
        assert_eq!(sets.effective.unwrap(), ["CAP_NET_RAW"]);
        assert_eq!(sets.ambient.unwrap(), ["CAP_KILL"]);
        assert!(sets.inheritable.is_none());
    }

    #[test]
    fn an_inheritable_capability_becomes_ambient_too() {
        let mut own = container();
        own.capabilities.as_mut().unwrap().inheritable = Some(vec!["CAP_NET_RAW".into()]);
        let changes = Changes { capabilities: vec!["net_raw".into(), "chown".into()], ..Changes::default() };
        let sets = change(&own, changes).capabilities.unwrap();
        assert_eq!(sets.ambient.unwrap(), ["CAP_KILL", "CAP_NET_RAW"]);
        assert_eq!(sets.inheritable.unwrap(), ["CAP_NET_RAW"]);
    }

    #[test]
    fn an_empty_profile_or_label_does_not_take_the_containers_away() {
        let mut own = container();
        own.apparmor_profile = Some("docker-default".into());
        own.selinux_label = Some("container_t".into());
        let empty = || Some(String::new());
        let changes = Changes { apparmor: empty(), label: empty(), ..Changes::default() };
        let given = config::Process { apparmor_profile: empty(), selinux_label: empty(), ..container() };
        for process in [change(&own, changes), complete(&own, given)] {
            assert_eq!(process.apparmor_profile.as_deref(), Some("docker-default"));
            assert_eq!(process.selinux_label.as_deref(), Some("container_t"));
        }
    }

    #[test]
    fn an_empty_list_of_limits_leaves_the_containers() {
        let limits = r#"[{"type": "RLIMIT_NOFILE", "hard": 10, "soft": 10}]"#;
        let own = config::Process { rlimits: serde_json::from_str(limits).unwrap(), ..container() };
        let given = config::Process { rlimits: Some(Vec::new()), ..container() };
        assert_eq!(complete(&own, given).rlimits, own.rlimits);
    }

    #[test]
    fn what_is_not_changed_is_the_containers() {
        let changes =
            Changes { arguments: vec!["sh".into()], environment: vec!["B=2".into()], ..Changes::default() };
        let process = change(&container(), changes);
        assert_eq!((process.user.uid(), process.user.gid()), (5, 6));
        assert_eq!(process.env.unwrap(), ["A=1", "B=2"]);
    }
}
