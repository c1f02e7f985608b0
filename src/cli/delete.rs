//! `kase delete`.

use super::{Context, ExitCode};
use crate::container::delete::{self, Force};
use crate::container::pattern;
use anyhow::Context as _;
use clap::{Arg, ArgAction, ArgMatches, Command};

pub fn arguments(command: Command) -> Command {
    command
        .arg(super::id())
        .arg(
            Arg::new("force")
                .short('f')
                .long("force")
                .action(ArgAction::SetTrue)
                .help("Kill what runs; a container that does not exist is no error"),
        )
        .arg(super::regex())
}

pub fn run(context: Context, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let id = super::id_of(matches);
    let force = if matches.get_flag("force") { Force::Yes } else { Force::No };
    let doing = || format!("delete {id}");
    let store = context.store().with_context(doing)?;
    let one = |id: &str| delete::delete(&store, id, force);
    match matches.get_flag("regex") {
        true => pattern::each(&store, id, one),
        false => one(id),
    }
    .with_context(doing)?;
    Ok(ExitCode::SUCCESS)
}
