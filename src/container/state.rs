//! What can be told about containers: `state` and `list`.

use super::record::Facts;
use super::{Container, Status};
use crate::accounts;
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The state as runc prints it: runtime.md's, and rootfs, created and owner.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State<'a> {
    /// config.json's version.
    pub oci_version: &'a str,
    pub id: &'a str,
    /// Init's id; 0 when it has ended.
    pub pid: i32,
    /// Derived now.
    pub status: Status,
    /// The bundle's directory.
    pub bundle: Cow<'a, str>,
    /// The rootfs.
    pub rootfs: Cow<'a, str>,
    /// RFC 3339.
    pub created: &'a str,
    /// config.json's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<&'a BTreeMap<String, String>>,
    /// The user who made it, by name if it has one.
    pub owner: &'a str,
    /// How it ended, if somebody waited for it; kase's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

impl<'a> State<'a> {
    /// The state of `container`, with `owner` as its owner's name.
    pub fn of(container: &'a Container, owner: &'a str) -> anyhow::Result<Self> {
        let (status, pid) = container.life()?;
        let facts = container.facts();
        let text = |text: fn(&Facts) -> &str| facts.map_or("", text);
        let path = |path: fn(&Facts) -> &Path| {
            facts.map_or(Cow::Borrowed(""), |facts| path(facts).to_string_lossy())
        };
        Ok(Self {
            oci_version: text(|facts| &facts.oci_version),
            id: container.id(),
            pid: pid.unwrap_or(0),
            status,
            bundle: path(|facts| &facts.bundle),
            rootfs: path(|facts| &facts.rootfs),
            created: text(|facts| &facts.created),
            annotations: facts.map(|facts| &facts.annotations).filter(|annotations| !annotations.is_empty()),
            owner,
            exit_code: container.exit(),
        })
    }
}

/// Names of users, by the host's /etc/passwd, read once and only if asked.
#[derive(Debug, Default)]
pub struct Owners {
    passwd: Option<String>,
    known: BTreeMap<u32, String>,
}

impl Owners {
    /// The user's name, or `#` and the id where there is none.
    pub fn name(&mut self, uid: u32) -> &str {
        let passwd = self.passwd.get_or_insert_with(|| fs::read_to_string("/etc/passwd").unwrap_or_default());
        // Of a thousand containers one user has nearly all.
        let named = || Some(accounts::user(passwd, &uid.to_string())?.name);
        self.known.entry(uid).or_insert_with(|| named().unwrap_or_else(|| format!("#{uid}")))
    }
}
