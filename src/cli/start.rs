//! `kase start`.

use super::{Building, Context, ExitCode};
use crate::container::start;
use anyhow::Context as _;
use clap::ArgMatches;
use std::ffi::OsString;

pub fn arguments(command: Building<'_>) -> Building<'_> {
    command.with(|command| command.arg(super::id()))
}

pub fn run(context: Context, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let id = super::id_of(matches);
    let doing = || format!("start {id}");
    let container = context.store()?.ours(id).with_context(doing)?;
    start::start(&container, notify_socket()).with_context(doing)?;
    Ok(ExitCode::SUCCESS)
}

/// Where whoever started kase as a service wants to hear that it is ready; sd_notify(3).
pub fn notify_socket() -> Option<OsString> {
    std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty())
}
