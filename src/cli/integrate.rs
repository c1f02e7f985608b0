//! `kase integrate`: kase in the configuration of an engine.

use super::{Building, Context, ExitCode};
use crate::fault::{Fault, OrFault, printable};
use crate::integrate::{Choice, Engine, Request};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::path::PathBuf;

pub fn arguments(command: Building<'_>) -> Building<'_> {
    command.with(options)
}

fn options(command: Command) -> Command {
    let file = |name| Arg::new(name).long(name).value_parser(super::path());
    let yes = |name| Arg::new(name).long(name).action(ArgAction::SetTrue);
    let engines = PossibleValuesParser::new(Engine::NAMES)
        .map(|name| Engine::named(&name).expect("clap takes the engines' names only"));
    command
        .arg(Arg::new("engine").required(true).value_name("ENGINE").value_parser(engines).help("The engine"))
        .arg(yes("remove").help("Take exactly what was added out again"))
        .arg(yes("no-default").help("Add kase without making it the default runtime"))
        .arg(file("config-dir").value_name("DIR").help("Directory of the engine's configuration, if it is not the usual one"))
        .arg(file("binary").value_name("FILE").help("Register this kase instead of the one that is called"))
        .arg(file("pid-file").value_name("FILE").help("Where dockerd has its process id, if it is not the usual file"))
        .after_help("A file of yours keeps its form and its comments, and lies beside as it was, with .before-kase behind its name. A dockerd that runs reads it anew.")
}

pub fn run(context: Context, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let request = Request {
        engine: *matches.get_one("engine").expect("clap requires the engine"),
        uid: context.caller.uid,
        directory: super::path_of(matches, "config-dir"),
        program: match super::path_of(matches, "binary") {
            Some(program) => program,
            None => own()?,
        },
        choice: if matches.get_flag("no-default") { Choice::OnRequest } else { Choice::Default },
        pid_file: super::path_of(matches, "pid-file"),
    };
    let mut said = Vec::new();
    let done = match matches.get_flag("remove") {
        true => request.remove(&mut said),
        false => request.add(&mut said),
    };
    super::print(said.iter().map(|line| format!("{}\n", printable(line))).collect::<String>())?;
    done.map(|()| ExitCode::SUCCESS)
}

fn own() -> anyhow::Result<PathBuf> {
    std::env::current_exe()
        .or_fault(|| Fault::doing("find out where kase lies").remedy("name it with --binary, or mount /proc"))
}
