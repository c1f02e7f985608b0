//! What can be told about containers: `state` and `list`.

use super::{Container, Status};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;

/// The state as runc prints it: runtime.md's, and rootfs, created and owner.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// config.json's version.
    pub oci_version: String,
    /// The id.
    pub id: String,
    /// Init's id; 0 when it has ended.
    pub pid: i32,
    /// Derived now.
    pub status: Status,
    /// The bundle's directory.
    pub bundle: String,
    /// The rootfs.
    pub rootfs: String,
    /// RFC 3339.
    pub created: String,
    /// config.json's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// The user who made it, by name if it has one.
    pub owner: String,
    /// How it ended, if somebody waited for it; kase's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

impl State {
    /// The state of `container`, with `owner` as its owner's name.
    pub fn of(container: Container, owner: String) -> Self {
        let (status, pid) = container.life();
        let exit_code = container.exit();
        let facts = container.record.map(|record| record.facts).unwrap_or_default();
        Self {
            oci_version: facts.oci_version,
            id: container.directory.id,
            pid: pid.unwrap_or(0),
            status,
            bundle: facts.bundle.display().to_string(),
            rootfs: facts.rootfs.display().to_string(),
            created: facts.created,
            annotations: Some(facts.annotations).filter(|annotations| !annotations.is_empty()),
            owner,
            exit_code,
        }
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
    pub fn name(&mut self, uid: u32) -> String {
        let passwd = self.passwd.get_or_insert_with(|| fs::read_to_string("/etc/passwd").unwrap_or_default());
        // Of a thousand containers one user has nearly all.
        let named = || {
            passwd.lines().find_map(|line| {
                let mut fields = line.split(':');
                let name = fields.next()?;
                (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_string())
            })
        };
        self.known.entry(uid).or_insert_with(|| named().unwrap_or_else(|| format!("#{uid}"))).clone()
    }
}
