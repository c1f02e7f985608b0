//! `kase list`.

use super::table;
use super::{Context, ExitCode};
use crate::container::Container;
use crate::container::state::{Owners, State};
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde::Serializer as _;
use std::io::{self, Write};

pub fn arguments(command: Command) -> Command {
    command
        .arg(table::format())
        .arg(Arg::new("quiet").short('q').long("quiet").action(ArgAction::SetTrue).help("Show the ids only"))
}

pub fn run(context: Context, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    // An entry whose creation has not got as far as a record is nobody's container yet.
    let containers = context.store()?.containers()?.filter(|container| container.facts().is_some());
    let mut out = io::BufWriter::new(io::stdout().lock());
    if matches.get_flag("quiet") {
        for container in containers {
            writeln!(out, "{}", container.id())?;
        }
    } else {
        show(containers, matches, &mut out)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn show(
    containers: impl Iterator<Item = Container>,
    matches: &ArgMatches,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut owners = Owners::default();
    let states = containers.map(|container| {
        let owner = owners.name(container.owner);
        State::of(container, owner)
    });
    if table::is_json(matches) {
        serde_json::Serializer::new(&mut *out).collect_seq(states)?;
        writeln!(out)?;
        return Ok(());
    }
    let header = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(String::from);
    // Of a thousand containers only what is shown is kept.
    let rows = states.map(|state| {
        [state.id, state.pid.to_string(), state.status.to_string(), state.bundle, state.created, state.owner]
    });
    let rows: Vec<[String; 6]> = std::iter::once(header).chain(rows).collect();
    table::wide(&rows, out)?;
    Ok(())
}
