//! `kase list`.

use super::table::{self, Wide};
use super::{Building, Context, ExitCode, flag};
use crate::container::state::State;
use clap::{ArgAction, ArgMatches};
use serde::Serializer as _;
use serde::ser::SerializeSeq as _;
use std::io::{self, Write};

pub fn arguments(command: Building<'_>) -> Building<'_> {
    command.option("format", Some('f'), |option| table::shape(option, "table")).option(
        "quiet",
        Some('q'),
        |option| option.action(ArgAction::SetTrue).help("Show the ids only"),
    )
}

pub fn run(context: Context, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let store = context.store()?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    if flag(matches, "quiet") {
        store.glances(|sight| Ok(writeln!(out, "{}", sight.id)?))?;
    } else if table::is_json(matches) {
        let mut json = serde_json::Serializer::new(&mut out);
        let mut all = json.serialize_seq(None)?;
        store.glances(|sight| Ok(all.serialize_element(&sight.state())?))?;
        all.end()?;
        writeln!(out)?;
    } else {
        let mut table = Wide::of(["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
        store.glances(|sight| {
            let State { id, pid, status, bundle, created, owner, .. } = sight.state();
            table.row([id, &pid.to_string(), status.word(), &bundle, created, owner]);
            Ok(())
        })?;
        table.write(&mut out)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
