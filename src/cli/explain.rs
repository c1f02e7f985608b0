//! `kase explain`.

use super::arguments::Arguments;
use super::context::Context;
use super::exit::ExitCode;
use super::table::{self, print};
use crate::container::explain::{self, Entry, SECTIONS};
use crate::fault::printable;
use anyhow::Context as _;
use std::io::{self, Write};

pub fn run(context: Context, arguments: &Arguments<'_>) -> anyhow::Result<ExitCode> {
    let request = super::create::request(&context, arguments)?;
    let store = context.store().context("explain")?;
    let explained = explain::explain(&store, context.caller, &request).context("explain")?;
    let mut out = Vec::new();
    if table::is_json(arguments) {
        writeln!(out, "{}", serde_json::to_string_pretty(&explained)?)?;
    } else {
        for (name, entries) in SECTIONS.iter().zip(&explained.0).filter(|(_, entries)| !entries.is_empty()) {
            writeln!(out, "{name}")?;
            entries.iter().try_for_each(|entry| show(entry, &mut out))?;
        }
    }
    print(out)?;
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
