//! `kase delete`.

use super::Context;
use crate::container::delete::{self, Force};
use anyhow::Context as _;
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::process::ExitCode;

pub fn arguments(command: Command) -> Command {
    command.arg(super::id()).arg(
        Arg::new("force")
            .short('f')
            .long("force")
            .action(ArgAction::SetTrue)
            .help("Kill what runs; a container that does not exist is no error"),
    )
}

pub fn run(context: Context, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let id = super::id_of(matches);
    let force = if matches.get_flag("force") { Force::Yes } else { Force::No };
    delete::delete(&context.store()?, id, force).with_context(|| format!("delete {id}"))?;
    Ok(ExitCode::SUCCESS)
}
