//! `kase kill`.

use super::{Building, Context, ExitCode, flag};
use crate::container::kill::{self, Whom};
use crate::container::pattern;
use anyhow::Context as _;
use clap::{Arg, ArgAction, ArgMatches};

pub fn arguments(command: Building<'_>) -> Building<'_> {
    let signal = Arg::new("signal")
        .value_name("SIGNAL")
        .default_value("TERM")
        .allow_hyphen_values(true)
        .help("Name or number");
    let command =
        command.with(|command| command.arg(super::id()).arg(signal)).option("all", Some('a'), |option| {
            option.action(ArgAction::SetTrue).help("Send it to every process of the container")
        });
    super::regex(command)
}

pub fn run(context: Context, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let id = super::id_of(matches);
    let doing = || format!("kill {id}");
    let signal = kill::parse(matches.get_one::<String>("signal").map_or("TERM", String::as_str))?;
    let whom = if flag(matches, "all") { Whom::All } else { Whom::Init };
    let store = context.store().with_context(doing)?;
    let one = |id: &str| kill::kill(&store.ours(id)?, signal, whom);
    match flag(matches, "regex") {
        true => pattern::each(&store, id, one),
        false => one(id),
    }
    .with_context(doing)?;
    Ok(ExitCode::SUCCESS)
}
