//! `kase state`.

use super::{Building, Context, ExitCode};
use crate::container::state::{Owners, State};
use anyhow::Context as _;
use clap::ArgMatches;

pub fn arguments(command: Building<'_>) -> Building<'_> {
    command.with(|command| command.arg(super::id()))
}

pub fn run(context: Context, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let id = super::id_of(matches);
    let container = context.store()?.container(id).with_context(|| format!("state {id}"))?;
    let mut owners = Owners::default();
    let state = State::of(&container, owners.name(container.owner)).with_context(|| format!("state {id}"))?;
    let text = serde_json::to_string_pretty(&state)?;
    super::print(format!("{text}\n"))?;
    Ok(ExitCode::SUCCESS)
}
