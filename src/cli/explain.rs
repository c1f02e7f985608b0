//! `kase explain`.

use super::table;
use super::{Building, Context, ExitCode};
use crate::container::explain::{self, Entry, SECTIONS};
use crate::fault::printable;
use anyhow::Context as _;
use clap::{ArgMatches, Command};
use std::io::{self, Write};

/// What `create` takes and nothing that is shown depends on.
const UNUSED: [&str; 6] =
    ["console-socket", "no-new-keyring", "no-subreaper", "pid-file", "pidfd-socket", "preserve-fds"];

pub fn arguments(command: Building<'_>) -> Building<'_> {
    super::create::shared(command).with(options)
}

fn options(command: Command) -> Command {
    command
        .mut_args(|argument| match argument.get_id().as_str() {
            // Paths of cgroups have it in them.
            "id" => argument.required(false).default_value("ID"),
            id => {
                let hidden = UNUSED.contains(&id) || argument.is_hide_set();
                argument.hide(hidden)
            }
        })
        .arg(table::format_or("table"))
        .after_help(
            "Shows what create would do with the bundle on this host, for this user; nothing is made.",
        )
}

pub fn run(context: Context, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let request = super::create::request(&context, matches)?;
    let store = context.store().context("explain")?;
    let explained = explain::explain(&store, context.caller, &request).context("explain")?;
    let mut out = Vec::new();
    if table::is_json(matches) {
        writeln!(out, "{}", serde_json::to_string_pretty(&explained)?)?;
    } else {
        for (name, entries) in SECTIONS.iter().zip(&explained.0).filter(|(_, entries)| !entries.is_empty()) {
            writeln!(out, "{name}")?;
            entries.iter().try_for_each(|entry| show(entry, &mut out))?;
        }
    }
    super::print(out)?;
    Ok(ExitCode::SUCCESS)
}

fn show(entry: &Entry, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "  {}", printable(&line(entry)))
}

/// The first value alone, the others with their names.
fn line(entry: &Entry) -> String {
    let mut values = entry.0.iter().filter(|(_, value)| !value.is_empty());
    let first = values.next().map_or("", |(_, value)| value);
    match values.clone().count() {
        // A name and a value.
        1 => values.next().map_or(String::new(), |(_, value)| format!("{first}: {value}")),
        _ => {
            let rest: Vec<_> = values
                .map(|(name, value)| match *name {
                    "what" => value.clone(),
                    name => format!("{name} {value}"),
                })
                .collect();
            let colon = if rest.is_empty() { "" } else { ": " };
            format!("{first}{colon}{}", rest.join("; "))
        }
    }
}
