//! `kase delete`.

use super::{Building, Context, ExitCode, flag};
use crate::container::delete::{self, Force};
use crate::container::pattern;
use anyhow::Context as _;
use clap::{ArgAction, ArgMatches};

pub fn arguments(command: Building<'_>) -> Building<'_> {
    let command = command.with(|command| command.arg(super::id())).option("force", Some('f'), |option| {
        option.action(ArgAction::SetTrue).help("Kill what runs; a container that does not exist is no error")
    });
    super::regex(command)
}

pub fn run(context: Context, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let id = super::id_of(matches);
    let force = if flag(matches, "force") { Force::Yes } else { Force::No };
    let doing = || format!("delete {id}");
    let store = context.store().with_context(doing)?;
    let one = |id: &str| delete::delete(&store, id, force);
    match flag(matches, "regex") {
        true => pattern::each(&store, id, one),
        false => one(id),
    }
    .with_context(doing)?;
    Ok(ExitCode::SUCCESS)
}
