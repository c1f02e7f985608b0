//! `kase gc`.

use super::table::{self, Wide};
use super::{Building, Context, ExitCode};
use crate::container::delete::{self, Force};
use crate::container::explain::Entry;
use crate::container::gc;
use crate::fault::Report;
use anyhow::Context as _;
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::fmt::Display;
use std::path::Path;

pub fn arguments(command: Building<'_>) -> Building<'_> {
    command.with(options)
}

fn options(command: Command) -> Command {
    command
        .arg(table::format())
        .arg(Arg::new("dry-run").long("dry-run").action(ArgAction::SetTrue).help("Show it only"))
        .after_help("Removes entries whose creation was interrupted, when nobody is at it any more, and those of before the host was booted; never a container that was created and has stopped.")
}

pub fn run(context: Context, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    let mut removed = Vec::new();
    for found in gc::find(&context.store()?)? {
        let gone = found.and_then(|(container, reason)| match matches.get_flag("dry-run") {
            true => Ok((container, reason)),
            false => delete::remove(&container, Force::Yes)
                .with_context(|| container.id().to_string())
                .map(|()| (container, reason)),
        });
        let (container, reason) = match gone {
            Ok(gone) => gone,
            Err(error) => {
                tracing::warn!("{}", Report::of(&error).line);
                code = ExitCode::FAILURE;
                continue;
            }
        };
        let bundle = container.facts().map_or(Path::new(""), |facts| &facts.bundle);
        let fields: [(_, &dyn Display); 3] =
            [("id", &container.id()), ("reason", &reason.word()), ("bundle", &bundle.display())];
        removed.push(Entry::of(&fields));
    }
    let mut out = Vec::new();
    if table::is_json(matches) {
        super::print(serde_json::to_string_pretty(&removed)? + "\n")?;
        return Ok(code);
    }
    let mut table = Wide::of(["ID", "REASON", "BUNDLE"]);
    for Entry(fields) in &removed {
        table.row(std::array::from_fn(|column| fields[column].1.as_str()));
    }
    table.write(&mut out)?;
    super::print(out)?;
    Ok(code)
}
