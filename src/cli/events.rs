//! `kase events`.

use super::arguments::{Arguments, wrong_value};
use super::context::Context;
use super::exit::ExitCode;
use crate::container::events::{self, Pace};
use anyhow::Context as _;

pub fn run(context: Context, arguments: &Arguments<'_>) -> anyhow::Result<ExitCode> {
    let id = arguments.id();
    let doing = || format!("events {id}");
    let interval = arguments.text("interval").unwrap_or_default();
    let interval = events::interval(interval).map_err(|why| wrong_value("interval", interval, why))?;
    let pace = if arguments.flag("stats") { Pace::Once } else { Pace::Every(interval) };
    let container = context.store()?.container(id).with_context(doing)?;
    events::events(&container, pace).with_context(doing)?;
    Ok(ExitCode::SUCCESS)
}
