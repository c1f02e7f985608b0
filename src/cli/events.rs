//! `kase events`.

use super::{Building, Context, ExitCode};
use crate::container::events::{self, Pace};
use anyhow::Context as _;
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::time::Duration;

pub fn arguments(command: Building<'_>) -> Building<'_> {
    command.with(options)
}

fn options(command: Command) -> Command {
    command
        .arg(super::id())
        .arg(
            Arg::new("interval")
                .long("interval")
                .value_parser(events::interval)
                .default_value("5s")
                .value_name("TIME")
                .help("Time between statistics"),
        )
        .arg(
            Arg::new("stats")
                .long("stats")
                .action(ArgAction::SetTrue)
                .help("Show the statistics once, and no events"),
        )
}

pub fn run(context: Context, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let id = super::id_of(matches);
    let doing = || format!("events {id}");
    let interval = matches.get_one::<Duration>("interval").copied().unwrap_or(Duration::from_secs(5));
    let pace = if matches.get_flag("stats") { Pace::Once } else { Pace::Every(interval) };
    let container = context.store()?.container(id).with_context(doing)?;
    events::events(&container, pace).with_context(doing)?;
    Ok(ExitCode::SUCCESS)
}
