//! `kase wait`.

use super::{Building, Context, ExitCode};
use crate::container::wait;
use crate::fault::Fault;
use anyhow::Context as _;
use clap::ArgMatches;

/// When the container has ended and nobody knows how.
const UNKNOWN: u8 = 254;

pub fn arguments(command: Building<'_>) -> Building<'_> {
    command.with(|command| command.arg(super::id()).after_help(
        "Prints the container's exit code and exits with it: 128 + N where signal N ended it. Without one, nothing is printed: 254 if the container has ended and nobody knows its code, since nobody waited for it then; 255 if there is no such container.",
    ))
}

pub fn run(context: Context, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let id = super::id_of(matches);
    let waited = context.store().and_then(|store| wait::wait(&store, id));
    match waited.with_context(|| format!("wait {id}")) {
        Ok(Some(code)) => Ok(match super::print(format!("{code}\n")) {
            Ok(()) => ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
            Err(error) => super::fail(&error, u8::MAX),
        }),
        Ok(None) => {
            let unknown = Fault::doing(format!("container {id:?} has exited, its code is unknown")).remedy(
                "begin kase wait before the container ends; whoever does first has the code kept for all",
            );
            Ok(super::fail(&unknown.into(), UNKNOWN))
        }
        // Its codes from 0 to 253 are the container's.
        Err(error) => Ok(super::fail(&error, u8::MAX)),
    }
}
