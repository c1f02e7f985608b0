//! `kase run`.

use super::{Building, Context, ExitCode, flag};
use crate::container::run::{self, How};
use anyhow::Context as _;
use clap::{ArgAction, ArgMatches};

pub fn arguments(command: Building<'_>) -> Building<'_> {
    super::create::shared(command)
        .option("detach", Some('d'), |option| {
            option.action(ArgAction::SetTrue).help("Do not wait for the container to end")
        })
        .option("keep", None, |option| {
            option
                .action(ArgAction::SetTrue)
                .help("Leave the stopped container for inspection, until kase delete")
        })
}

pub fn run(context: Context, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let request = super::create::request(&context, matches)?;
    let doing = || format!("run {}", request.id);
    let how = How {
        detach: flag(matches, "detach"),
        keep: flag(matches, "keep"),
        no_subreaper: flag(matches, "no-subreaper"),
    };
    let store = context.store().with_context(doing)?;
    let code = run::run(&store, context.caller, &request, how).with_context(doing)?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}
