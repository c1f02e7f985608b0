//! `kase list`.

use super::arguments::Arguments;
use super::context::Context;
use super::exit::ExitCode;
use super::table::{self, Wide, print};
use crate::container::listed::Listed;
use crate::container::state::State;
use crate::fault::{Report, printable};
use serde::Serializer as _;
use serde::ser::SerializeSeq as _;
use std::io::Write;

pub fn run(context: Context, arguments: &Arguments<'_>) -> anyhow::Result<ExitCode> {
    let store = context.store()?;
    let mut code = ExitCode::SUCCESS;
    let mut out = Vec::new();
    if arguments.flag("quiet") {
        store.list(|listed| match passed_over(listed, &mut code) {
            Some(listed) => Ok(writeln!(out, "{}", printable(listed.id))?),
            None => Ok(()),
        })?;
    } else if table::is_json(arguments) {
        let mut json = serde_json::Serializer::new(&mut out);
        let mut all = json.serialize_seq(None)?;
        store.list(|listed| match passed_over(listed.and_then(Listed::state), &mut code) {
            Some(state) => Ok(all.serialize_element(&state)?),
            None => Ok(()),
        })?;
        all.end()?;
        writeln!(out)?;
    } else {
        let mut table = Wide::of(["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
        store.list(|listed| {
            let state = passed_over(listed.and_then(Listed::state), &mut code);
            if let Some(State { id, pid, status, bundle, created, owner, .. }) = state {
                table.row([id, &pid.to_string(), status.word(), &bundle, created, owner]);
            }
            Ok(())
        })?;
        table.write(&mut out)?;
    }
    print(out)?;
    Ok(code)
}

/// A container that cannot be read is told of, and the list is not whole then.
fn passed_over<T>(found: anyhow::Result<T>, code: &mut ExitCode) -> Option<T> {
    found
        .inspect_err(|error| {
            tracing::warn!("{}", Report::of(error).line);
            *code = ExitCode::FAILURE;
        })
        .ok()
}
