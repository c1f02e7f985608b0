//! The command line: what runc's is, one small file a command.
//!
//! What there is stands in one [table](options), by which a command line is taken [apart](arguments) once.

mod arguments;
mod context;
mod create;
mod delete;
mod doctor;
#[cfg(test)]
mod documents;
mod events;
mod exec;
mod exit;
mod explain;
mod features;
mod gc;
mod help;
mod integrate;
mod kill;
mod lint;
mod list;
mod options;
mod paint;
mod pause;
mod ps;
mod resume;
mod run;
mod spec;
mod start;
mod state;
mod table;
mod update;
mod wait;

use self::arguments::{Arguments, Stop};
use self::context::Context;
pub use self::exit::ExitCode;
use self::exit::fail;
use self::table::print;
use crate::fault::{Fault, OrFault, Report};
use crate::log;
use crate::plan::adapt::Adapt;
use crate::plan::cgroup::annotated::Properties;
use crate::plan::cgroup::{Driver, Manager};
use crate::seal;
use crate::trace;
use rootless::caller::Caller;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use tracing::Level;

type Run = fn(Context, &Arguments<'_>) -> anyhow::Result<ExitCode>;

/// What a command of the table does.
fn runs(command: &str) -> Option<Run> {
    macro_rules! of {
        ($($name:ident)*) => {
            match command {
                $(stringify!($name) => Some($name::run),)*
                _ => None,
            }
        };
    }
    of!(create delete doctor events exec explain features gc integrate kill lint list pause ps resume run spec start
        state update wait)
}

/// Parses the command line, does what it says, and tells the caller of what went wrong.
///
/// The first of the `words` is the program's name.
pub fn main(words: Vec<OsString>) -> ExitCode {
    let done = match arguments::parse(words.get(1..).unwrap_or_default()) {
        Ok([global, arguments]) => begin(&words, &global, &arguments),
        Err(Stop::Show(text)) => print(text).map(|()| ExitCode::SUCCESS),
        Err(Stop::Wrong(error)) => {
            // The log is not started: its options may be what is wrong. Engines that give --log still read of it here.
            log::tell(&Report::of(&error));
            Ok(ExitCode::FAILURE)
        }
    };
    done.unwrap_or_else(|error| fail(&error, 1))
}

fn begin(words: &[OsString], global: &Arguments<'_>, arguments: &Arguments<'_>) -> anyhow::Result<ExitCode> {
    let name = arguments.command.name;
    let Some(run) = runs(name) else { return print(help::of(arguments.command)).map(|()| ExitCode::SUCCESS) };
    trace::step(name);
    let caller = Caller::look()?;
    // Before anything else, all of which the second start would do again. The log may be a FIFO and is opened later;
    // that this failed belongs into it all the same.
    let sealed = seal::seal(name, &caller, words);
    // While no descriptor is open that is ours.
    let preserved = create::check_preserved(arguments);
    let text = |name| global.text(name).unwrap_or_default();
    let format = if text("log-format") == "json" { log::Format::Json } else { log::Format::Text };
    let log = global.path("log");
    let destination = log.as_ref().map(|log| log::Destination::of(log.as_os_str(), arguments.text("id")));
    log::start(destination, format, level(global))?;
    sealed?;
    match preserved {
        // Its codes from 0 to 254 are the program's.
        Err(error) if name == "exec" => return Ok(fail(&error, u8::MAX)),
        preserved => preserved?,
    }
    let adapt = if text("rootless") == "false" { Adapt::No } else { Adapt::Yes };
    let driver = match text("cgroup-manager") {
        _ if global.flag("systemd-cgroup") => Driver::Systemd,
        "systemd" => Driver::Systemd,
        "cgroupfs" => Driver::Cgroupfs,
        "disabled" => Driver::Disabled,
        _ => Driver::Auto,
    };
    if let Some(file) = global.path("trace") {
        trace::begin(&file).or_write_fault(|| {
            Fault::doing(format!("write the trace {}", file.display()))
                .remedy("give --trace a file in a directory that you may write to")
        })?;
    }
    let properties = match text("systemd-properties") {
        "any" => Properties::Any,
        _ => Properties::Scope,
    };
    let cgroups = Manager { driver, properties };
    let context = Context { cgroups, caller, root: global.path("root"), adapt };
    let done = run(context, arguments);
    trace::finish();
    done
}

/// The least important level that is told.
///
/// What kase did unasked (a user namespace added, no cgroup to be had) is told to a person at a terminal, and to
/// whoever names a log or a level. A script, or an engine, that captures standard error gets there what the
/// container wrote, and besides only what went wrong, as with other runtimes.
fn level(global: &Arguments<'_>) -> Level {
    match global.text("log-level").unwrap_or_default() {
        "trace" => Level::TRACE,
        _ if global.flag("debug") => Level::DEBUG,
        "debug" => Level::DEBUG,
        "warn" | "warning" => Level::WARN,
        "error" => Level::ERROR,
        _ => {
            let asked = global.flag("log-level") || global.flag("log");
            if asked || io::stderr().is_terminal() { Level::INFO } else { Level::WARN }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_of_the_table_does_something() {
        for command in &options::COMMANDS {
            assert!(runs(command.name).is_some(), "{}", command.name);
        }
    }
}
