//! `kase kill`.

use super::{Context, ExitCode};
use crate::container::kill::{self, Whom};
use crate::container::pattern;
use anyhow::Context as _;
use clap::{Arg, ArgAction, ArgMatches, Command};

pub fn arguments(command: Command) -> Command {
    command
        .arg(super::id())
        .arg(
            Arg::new("signal")
                .value_name("SIGNAL")
                .default_value("TERM")
                .allow_hyphen_values(true)
                .help("Name or number"),
        )
        .arg(
            Arg::new("all")
                .short('a')
                .long("all")
                .action(ArgAction::SetTrue)
                .help("Send it to every process of the container"),
        )
        .arg(super::regex())
}

pub fn run(context: Context, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let id = super::id_of(matches);
    let doing = || format!("kill {id}");
    let signal = kill::parse(matches.get_one::<String>("signal").map_or("TERM", String::as_str))?;
    let whom = if matches.get_flag("all") { Whom::All } else { Whom::Init };
    let store = context.store().with_context(doing)?;
    let one = |id: &str| kill::kill(&store.ours(id)?, signal, whom);
    match matches.get_flag("regex") {
        true => pattern::each(&store, id, one),
        false => one(id),
    }
    .with_context(doing)?;
    Ok(ExitCode::SUCCESS)
}
