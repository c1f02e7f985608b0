//! `kase list`.

use super::Context;
use crate::container::Container;
use crate::container::state::{Owners, State};
use crate::fault::Report;
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::io::{self, Write};
use std::process::ExitCode;

pub fn arguments(command: Command) -> Command {
    command
        .arg(
            Arg::new("format")
                .short('f')
                .long("format")
                .value_parser(PossibleValuesParser::new(["table", "json"]))
                .default_value("table")
                .help("How to show them"),
        )
        .arg(Arg::new("quiet").short('q').long("quiet").action(ArgAction::SetTrue).help("Show the ids only"))
}

pub fn run(context: Context, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let store = context.store()?;
    let mut containers = Vec::new();
    for id in store.ids()? {
        match store.look(&id) {
            // An entry whose creation has not got as far as a record is nobody's container yet.
            Ok(Some(container)) if container.facts().is_some() => containers.push(container),
            Ok(_) => {}
            Err(error) => tracing::warn!("{}", Report::of(&error).line),
        }
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    if matches.get_flag("quiet") {
        for container in &containers {
            writeln!(out, "{}", container.id())?;
        }
    } else {
        show(&containers, matches.get_one::<String>("format").map_or("table", String::as_str), &mut out)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn show(containers: &[Container], format: &str, out: &mut impl Write) -> anyhow::Result<()> {
    let mut owners = Owners::default();
    let states: Vec<State<'_>> =
        containers.iter().map(|container| State::of(container, owners.name(container.owner))).collect();
    if format == "json" {
        serde_json::to_writer(&mut *out, &states)?;
        writeln!(out)?;
        return Ok(());
    }
    let header = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(String::from);
    let rows = states.iter().map(|state| {
        [
            state.id.to_string(),
            state.pid.to_string(),
            state.status.to_string(),
            state.bundle.clone(),
            state.created.to_string(),
            state.owner.clone(),
        ]
    });
    let rows: Vec<[String; 6]> = std::iter::once(header).chain(rows).collect();
    table(&rows, out)?;
    Ok(())
}

/// Columns as wide as their widest cell, at least 12 and 3 apart, as runc's tables are.
fn table(rows: &[[String; 6]], out: &mut impl Write) -> io::Result<()> {
    const LEAST: usize = 12;
    const APART: usize = 3;
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            if column + 1 == row.len() {
                writeln!(out, "{cell}")?;
                break;
            }
            let widest = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
            write!(out, "{cell:width$}", width = (widest + APART).max(LEAST))?;
        }
    }
    Ok(())
}
