//! `kase pause`.

use super::{Building, Context, ExitCode};
use crate::container::pause;
use anyhow::Context as _;
use clap::ArgMatches;

pub fn arguments(command: Building<'_>) -> Building<'_> {
    command.with(|command| command.arg(super::id()))
}

pub fn run(context: Context, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let id = super::id_of(matches);
    let doing = || format!("pause {id}");
    let container = context.store()?.ours(id).with_context(doing)?;
    pause::pause(&container).with_context(doing)?;
    Ok(ExitCode::SUCCESS)
}
