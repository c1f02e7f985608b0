//! `kase state`.

use super::arguments::Arguments;
use super::context::Context;
use super::exit::ExitCode;
use super::table::print;
use crate::container::state::{Owners, State};
use anyhow::Context as _;

pub fn run(context: Context, arguments: &Arguments<'_>) -> anyhow::Result<ExitCode> {
    let id = arguments.id();
    let container = context.store()?.container(id).with_context(|| format!("state {id}"))?;
    let mut owners = Owners::default();
    let state = State::of(&container, owners.name(container.owner)).with_context(|| format!("state {id}"))?;
    let text = serde_json::to_string_pretty(&state)?;
    print(format!("{text}\n"))?;
    Ok(ExitCode::SUCCESS)
}
