//! A container's record: whatever somebody has made of it, and what is written is what is read.

use super::directory::Directory;
use crate::cgroup::{CgroupFacts, Freezer};
use crate::container::record::{Complete, Facts, Journal, Record, Text, add_exit};
use serde::Deserialize;
use serde_json::to_value;
use std::fs;
use std::os::fd::AsFd;
use std::path::Path;

const FILE: &str = "web/record";

/// A part of the facts, as most commands read them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    namespaces: u64,
}

pub fn execute(bytes: &[u8]) {
    Directory::with(|directory| {
        let _ = fs::create_dir(directory.path().join("web"));
        fs::write(directory.path().join(FILE), bytes).expect("a record can be written");
        let web = directory.open("web");
        let remains = Record::remains(web.as_fd()).expect("what remains is read of anything");
        let record = match Record::read(web.as_fd()) {
            Ok(record) => record,
            Err(error) => {
                super::assert_helps(&error);
                // A part need not notice, but it may not fall over either.
                drop(Text::default().read_part::<Part, Freezer>(directory.open(".").as_fd(), "web"));
                return;
            }
        };
        let Some(record) = record else { return };
        assert_has_each_line(&record, bytes);
        assert_eq!(
            to_value(&record.facts).ok(),
            remains.map(|remains| to_value(&remains.facts).unwrap_or_default())
        );
        let mut text = Text::default();
        let part = text.read_part::<Part, CgroupFacts>(directory.open(".").as_fd(), "web");
        let (part, _) = part.expect("a part of a whole record is whole").expect("and is there");
        assert_eq!(
            (part.facts.namespaces, part.cgroup, part.init),
            (record.facts.namespaces, record.cgroup.clone(), record.init)
        );
        write_again(&record, directory);
    });
}

/// Whatever a line tells, the record has.
fn assert_has_each_line(record: &Record, text: &[u8]) {
    let mut lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    // What has no newline behind it does not count.
    lines.pop();
    let tells = |word: &str| lines.iter().any(|line| line.starts_with(word.as_bytes()));
    assert!(record.init.is_some() || !tells("{\"init\":"));
    assert!(record.share.is_some() || !tells("{\"share\":"));
    assert!(record.exit.is_some() || !tells("{\"exit\":"));
    assert!(record.complete == Complete::Yes || !tells("\"ready\""));
}

fn write_again(record: &Record, directory: &Directory) {
    let path = directory.path().join(FILE);
    fs::remove_file(&path).expect("the record can be removed");
    let web = directory.open("web");
    let fd = web.as_fd();
    let journal = Journal::begin(fd, &record.facts).expect("a record can be begun");
    journal.cgroup(&record.cgroup).expect("it can be continued");
    if let Some(init) = record.init {
        journal.init(init).expect("it can be continued");
    }
    if record.complete == Complete::Yes {
        journal.ready().expect("it can be continued");
    }
    if let Some(share) = &record.share {
        Journal::share(fd, (**share).clone()).expect("it can be continued");
    }
    if let Some(code) = record.exit {
        add_exit(fd, code).expect("it can be continued");
    }
    drop(journal);
    let again = Record::read(fd).expect("what kase wrote, kase reads").expect("it is there");
    assert_eq!(comparable(&again), comparable(record));
}

fn comparable(record: &Record<Facts>) -> impl PartialEq + std::fmt::Debug {
    let complete = record.complete == Complete::Yes;
    let facts = to_value(&record.facts).expect("it was JSON");
    (facts, record.cgroup.clone(), record.init, complete, record.share.clone(), record.exit)
}

/// No config.json is a record, but its bundle has one.
pub fn seeds(text: &[u8]) -> Vec<Vec<u8>> {
    let whole: serde_json::Value = serde_json::from_slice(text).unwrap_or_default();
    let facts = Facts {
        oci_version: "1.3.0".into(),
        bundle: Path::new("/bundle").into(),
        rootfs: Path::new("/bundle/rootfs").into(),
        created: "2026-01-01T00:00:00Z".into(),
        annotations: serde_json::from_value(whole["annotations"].clone()).unwrap_or_default(),
        poststop: serde_json::from_value(whole["hooks"]["poststop"].clone()).unwrap_or_default(),
        ..Facts::default()
    };
    let facts = serde_json::to_string(&facts).unwrap_or_default();
    let cgroup = r#"{"cgroup":{"v1":{"freezer":"/sys/fs/cgroup/freezer/web"},"unit":{"name":"kase-web.scope","bus":"user"}}}"#;
    let init = r#"{"init":{"pid":7,"startTime":9,"inode":11}}"#;
    vec![format!("{{\"facts\":{facts}}}\n{cgroup}\n{init}\n\"ready\"\n{{\"exit\":137}}\n").into_bytes()]
}
