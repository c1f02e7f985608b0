//! `kase delete`.

use super::arguments::Arguments;
use super::context::Context;
use super::exit::ExitCode;
use crate::container::delete::{self, Force};
use crate::container::pattern;
use anyhow::Context as _;

pub fn run(context: Context, arguments: &Arguments<'_>) -> anyhow::Result<ExitCode> {
    let id = arguments.id();
    let force = if arguments.flag("force") { Force::Yes } else { Force::No };
    let doing = || format!("delete {id}");
    let store = context.store().with_context(doing)?;
    let one = |id: &str| delete::delete(&store, id, force);
    match arguments.flag("regex") {
        true => pattern::each(&store, id, one),
        false => one(id),
    }
    .with_context(doing)?;
    Ok(ExitCode::SUCCESS)
}
