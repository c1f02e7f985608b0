//! containerd's config.toml, with kase in it and without it again.

use crate::fault::Report;
use crate::integrate::containerd;
use crate::integrate::toml::Document;

const PROGRAM: &str = "\"/usr/local/bin/kase\"";

pub fn execute(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    // Of an empty file containerd itself is asked.
    if text.trim().is_empty() {
        return;
    }
    let cleaned = containerd::remove(text);
    match containerd::add(text, PROGRAM) {
        Ok(with) => {
            let document = Document::read(&with).expect("TOML is made of TOML");
            let path =
                |plugin| ["plugins", plugin, "containerd", "runtimes", "kase", "options", "BinaryName"];
            let mut plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime"].into_iter();
            assert!(plugins.any(|plugin| document.get(&path(plugin)) == Some(PROGRAM)), "{with}");
            assert!(containerd::add(&with, PROGRAM).is_err(), "it is there already");
            let without = containerd::remove(&with).expect("what was added can be removed");
            let newline = if text.ends_with('\n') { "" } else { "\n" };
            // A block that looks like ours goes too, and did so before.
            if !text.lines().any(|line| line.starts_with("# kase: begin")) {
                assert_eq!(without, format!("{text}{newline}"), "by way of {with:?}");
            } else if let Ok(cleaned) = cleaned {
                assert_eq!(without, cleaned + newline, "by way of {with:?}");
            }
        }
        Err(error) => assert!(!Report::of(&error).line.is_empty()),
    }
}
