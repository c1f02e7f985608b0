//! `kase integrate`: kase in the configuration of an engine.

use super::arguments::Arguments;
use super::context::Context;
use super::exit::ExitCode;
use super::table::print;
use crate::fault::{Fault, OrFault, printable};
use crate::integrate::{Choice, Engine, Request};
use std::path::PathBuf;

pub fn run(context: Context, arguments: &Arguments<'_>) -> anyhow::Result<ExitCode> {
    let request = Request {
        engine: arguments.text("engine").and_then(Engine::named).expect("the table has the engines' names"),
        uid: context.caller.uid,
        directory: arguments.path("config-dir"),
        program: match arguments.path("binary") {
            Some(program) => program,
            None => own()?,
        },
        choice: if arguments.flag("no-default") { Choice::OnRequest } else { Choice::Default },
        pid_file: arguments.path("pid-file"),
    };
    let mut said = Vec::new();
    let done = match arguments.flag("remove") {
        true => request.remove(&mut said),
        false => request.add(&mut said),
    };
    print(said.iter().map(|line| format!("{}\n", printable(line))).collect::<String>())?;
    done.map(|()| ExitCode::SUCCESS)
}

fn own() -> anyhow::Result<PathBuf> {
    std::env::current_exe()
        .or_fault(|| Fault::doing("find out where kase lies").remedy("name it with --binary, or mount /proc"))
}
