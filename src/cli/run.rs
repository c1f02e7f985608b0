//! `kase run`.

use super::{Context, ExitCode};
use crate::container::run::{self, How};
use anyhow::Context as _;
use clap::{Arg, ArgAction, ArgMatches, Command};

pub fn arguments(command: Command) -> Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).help(help).action(ArgAction::SetTrue)
    };
    super::create::shared(command)
        .arg(flag("detach", "Do not wait for the container to end").short('d').alias("detatch"))
        .arg(flag("keep", "Leave the stopped container for inspection, until kase delete"))
}

pub fn run(context: Context, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let request = super::create::request(&context, matches)?;
    let doing = || format!("run {}", request.id);
    let how = How {
        detach: matches.get_flag("detach"),
        keep: matches.get_flag("keep"),
        no_subreaper: matches.get_flag("no-subreaper"),
    };
    let store = context.store().with_context(doing)?;
    let code = run::run(&store, context.caller, &request, how).with_context(doing)?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}
