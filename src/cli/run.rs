//! `kase run`.

use super::arguments::Arguments;
use super::context::Context;
use super::exit::ExitCode;
use crate::container::run::{self, How};
use anyhow::Context as _;

pub fn run(context: Context, arguments: &Arguments<'_>) -> anyhow::Result<ExitCode> {
    let request = super::create::request(&context, arguments)?;
    let doing = || format!("run {}", request.id);
    let how = How {
        detach: arguments.flag("detach"),
        keep: arguments.flag("keep"),
        no_subreaper: arguments.flag("no-subreaper"),
    };
    let store = context.store().with_context(doing)?;
    let code = run::run(&store, context.caller, &request, how).with_context(doing)?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}
