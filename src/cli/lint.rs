//! `kase lint`: what is wrong with a config.json, and what is weak.

use super::arguments::Arguments;
use super::context::Context;
use super::exit::ExitCode;
use super::paint::{Colour, Paint, counted, object};
use super::table::{self, print};
use crate::bundle;
use crate::fault::printable;
use crate::lint::{Finding, Level, lint};
use serde_json::Value;
use std::io::{self, Write};
use std::path::Path;

pub fn run(_: Context, arguments: &Arguments<'_>) -> anyhow::Result<ExitCode> {
    let directory = super::create::bundle_of(arguments);
    let config = arguments.path("config");
    let text = bundle::read(&directory, config.as_deref())?;
    let shown = directory.join(config.as_deref().unwrap_or(Path::new("config.json")));
    let findings = lint(&text);
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (errors, warnings) = (count(Level::Error), count(Level::Warning));
    let mut out = Vec::new();
    if table::is_json(arguments) {
        let listed: Vec<Value> = findings.iter().map(document).collect();
        let whole = object([
            ("file", shown.to_string_lossy().into()),
            ("errors", errors.into()),
            ("warnings", warnings.into()),
            ("findings", listed.into()),
        ]);
        writeln!(out, "{whole}")?;
    } else {
        let paint = Paint::of_stdout();
        for finding in &findings {
            show(finding, &shown, paint, &mut out)?;
        }
        writeln!(out, "{}, {}", counted(errors, "error"), counted(warnings, "warning"))?;
    }
    print(out)?;
    Ok(ExitCode::from(u8::from(errors > 0)))
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warning => "warning",
    }
}

/// As compilers do it, so that editors can follow.
fn show(finding: &Finding, file: &Path, paint: Paint, out: &mut impl Write) -> io::Result<()> {
    let Finding { level, line, column, place, what, remedy } = finding;
    let colour = match level {
        Level::Error => Colour::Red,
        Level::Warning => Colour::Yellow,
    };
    let level = paint.dress(colour, word(*level));
    let place = if place.is_empty() { String::new() } else { format!("{place}: ") };
    let file = file.to_string_lossy();
    writeln!(out, "{}:{line}:{column}: {level}: {}{}", printable(&file), printable(&place), printable(what))?;
    match remedy {
        Some(remedy) => writeln!(out, "  help: {}", printable(remedy)),
        None => Ok(()),
    }
}

fn document(finding: &Finding) -> Value {
    object([
        ("level", word(finding.level).into()),
        ("line", finding.line.into()),
        ("column", finding.column.into()),
        ("place", finding.place.as_str().into()),
        ("message", finding.what.as_str().into()),
        ("remedy", finding.remedy.as_deref().into()),
    ])
}
