//! `kase resume`.

use super::arguments::Arguments;
use super::context::Context;
use super::exit::ExitCode;
use crate::container::pause;
use anyhow::Context as _;

pub fn run(context: Context, arguments: &Arguments<'_>) -> anyhow::Result<ExitCode> {
    let id = arguments.id();
    let doing = || format!("resume {id}");
    let container = context.store()?.ours(id).with_context(doing)?;
    pause::resume(&container).with_context(doing)?;
    Ok(ExitCode::SUCCESS)
}
