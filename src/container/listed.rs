//! What `list` reads of a record: of a thousand containers, in one piece of memory, without what no list shows.
//!
//! To read whole records, each into memory of its own, and to look for each freezer by its whole path took `list` of
//! 300 containers 14 to 19 % more of the processor.

use super::identity::Booted;
use super::record::Record;
use super::state::State;
use crate::cgroup::{Freezer, Host};
use crate::fault::{Fault, OrFault};
use crate::gate;
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;

/// What `list` needs of a record.
pub type ListedRecord<'a> = Record<Facts<'a>, Freezer<'a>>;

/// As the record's, but what is not shown.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts<'a> {
    #[serde(borrow)]
    oci_version: Cow<'a, str>,
    #[serde(borrow)]
    bundle: Cow<'a, str>,
    #[serde(borrow)]
    rootfs: Cow<'a, str>,
    #[serde(borrow)]
    created: Cow<'a, str>,
    #[serde(borrow, default)]
    boot: Cow<'a, str>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl Booted for Facts<'_> {
    fn boot(&self) -> &str {
        &self.boot
    }
}

/// A container of the list.
#[derive(Debug)]
pub struct Listed<'a> {
    pub id: &'a str,
    /// Whose it is.
    pub owner: &'a str,
    /// Its record.
    pub record: &'a ListedRecord<'a>,
    /// Where the cgroups are.
    pub host: &'a Host,
    /// The state root.
    pub root: BorrowedFd<'a>,
}

impl<'a> Listed<'a> {
    /// Its state.
    pub fn state(&self) -> anyhow::Result<State<'a>> {
        let Self { id, owner, record, host, root } = *self;
        let (status, pid) = record
            .life(|freezer| freezer.state(host), || gate::is_waited_at(root, id))
            .or_fault(|| Fault::doing(format!("container {id:?}")))?;
        let Facts { oci_version, bundle, rootfs, created, annotations, .. } = &record.facts;
        Ok(State {
            oci_version,
            id,
            pid: pid.unwrap_or(0),
            status,
            bundle: Cow::Borrowed(bundle),
            rootfs: Cow::Borrowed(rootfs),
            created,
            annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
            owner,
            exit_code: record.exit,
        })
    }
}
