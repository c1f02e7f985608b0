//! `kase start`.

use super::arguments::Arguments;
use super::context::Context;
use super::exit::ExitCode;
use crate::container::start;
use anyhow::Context as _;
use std::ffi::OsString;

pub fn run(context: Context, arguments: &Arguments<'_>) -> anyhow::Result<ExitCode> {
    let id = arguments.id();
    let doing = || format!("start {id}");
    let container = context.store()?.ours(id).with_context(doing)?;
    start::start(&container, notify_socket()).with_context(doing)?;
    Ok(ExitCode::SUCCESS)
}

/// Where whoever started kase as a service wants to hear that it is ready; sd_notify(3).
pub fn notify_socket() -> Option<OsString> {
    std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty())
}
