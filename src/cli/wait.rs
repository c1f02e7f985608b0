//! `kase wait`.

use super::arguments::Arguments;
use super::context::Context;
use super::exit::{ExitCode, fail};
use super::table::print;
use crate::container::wait;
use crate::fault::Fault;
use anyhow::Context as _;

/// When the container has ended and nobody knows how.
const UNKNOWN: u8 = 254;

pub fn run(context: Context, arguments: &Arguments<'_>) -> anyhow::Result<ExitCode> {
    let id = arguments.id();
    let waited = context.store().and_then(|store| wait::wait(&store, id));
    match waited.with_context(|| format!("wait {id}")) {
        Ok(Some(code)) => Ok(match print(format!("{code}\n")) {
            Ok(()) => ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
            Err(error) => fail(&error, u8::MAX),
        }),
        Ok(None) => {
            let unknown = Fault::doing(format!("container {id:?} has exited, its code is unknown")).remedy(
                "begin kase wait before the container ends; whoever does first has the code kept for all",
            );
            Ok(fail(&unknown.into(), UNKNOWN))
        }
        // Its codes from 0 to 253 are the container's.
        Err(error) => Ok(fail(&error, u8::MAX)),
    }
}
