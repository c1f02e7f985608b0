//! `kase kill`.

use super::arguments::Arguments;
use super::context::Context;
use super::exit::ExitCode;
use crate::container::kill::{self, Whom};
use crate::container::pattern;
use anyhow::Context as _;

pub fn run(context: Context, arguments: &Arguments<'_>) -> anyhow::Result<ExitCode> {
    let id = arguments.id();
    let doing = || format!("kill {id}");
    let signal = kill::parse(arguments.text("signal").unwrap_or_default())?;
    let whom = if arguments.flag("all") { Whom::All } else { Whom::Init };
    let store = context.store().with_context(doing)?;
    let one = |id: &str| kill::kill(&store.ours(id)?, signal, whom);
    match arguments.flag("regex") {
        true => pattern::each(&store, id, one),
        false => one(id),
    }
    .with_context(doing)?;
    Ok(ExitCode::SUCCESS)
}
