//! `kase features`.

use super::Context;
use crate::hook;
use crate::plan::mount_options;
use crate::plan::namespaces::Kind;
use clap::{ArgMatches, Command};
use serde_json::json;
use std::io::Write;
use std::process::ExitCode;

pub fn arguments(command: Command) -> Command {
    command
}

/// The features structure of the runtime specification, features.md.
pub fn run(_: Context, _: &ArgMatches) -> anyhow::Result<ExitCode> {
    let mut namespaces: Vec<_> = Kind::ALL.into_iter().map(Kind::word).collect();
    namespaces.sort_unstable();
    let mut capabilities: Vec<_> = caps::all().into_iter().map(|capability| capability.to_string()).collect();
    capabilities.sort_unstable();
    let features = json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.3.0",
        "hooks": hook::Kind::ALL.map(hook::Kind::word),
        "mountOptions": mount_options::known().collect::<Vec<_>>(),
        "linux": {
            "namespaces": namespaces,
            "capabilities": capabilities,
        },
    });
    writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&features)?)?;
    Ok(ExitCode::SUCCESS)
}
