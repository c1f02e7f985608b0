//! `kase gc`.

use super::Context;
use super::table;
use crate::container::gc::{self, Reason};
use crate::fault::Report;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde::Serialize;
use std::io;
use std::process::ExitCode;

pub fn arguments(command: Command) -> Command {
    command
        .arg(table::format())
        .arg(Arg::new("dry-run").long("dry-run").action(ArgAction::SetTrue).help("Show it only"))
        .after_help("Removes entries whose creation was interrupted, when nobody is at it any more, and those of before the host was booted; never a container that was created and has stopped.")
}

/// What was removed, or would be.
#[derive(Serialize)]
struct Removed {
    id: String,
    reason: Reason,
    bundle: String,
}

pub fn run(context: Context, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    let mut removed = Vec::new();
    for (container, reason) in gc::find(&context.store()?)? {
        if !matches.get_flag("dry-run")
            && let Err(error) = gc::remove(&container, reason)
        {
            tracing::warn!("{}: {}", container.id(), Report::of(&error).line);
            code = ExitCode::FAILURE;
            continue;
        }
        let bundle = container.facts().map_or_else(String::new, |facts| facts.bundle.display().to_string());
        removed.push(Removed { id: container.id().to_string(), reason, bundle });
    }
    let mut out = io::stdout().lock();
    if table::is_json(matches) {
        serde_json::to_writer(&mut out, &removed)?;
        io::Write::write_all(&mut out, b"\n")?;
        return Ok(code);
    }
    let header = ["ID", "REASON", "BUNDLE"].map(String::from);
    let rows = removed.into_iter().map(|one| {
        let reason = match one.reason {
            Reason::Interrupted => "interrupted",
            Reason::Rebooted => "rebooted",
        };
        [one.id, reason.to_string(), one.bundle]
    });
    table::wide(&std::iter::once(header).chain(rows).collect::<Vec<_>>(), &mut out)?;
    Ok(code)
}
