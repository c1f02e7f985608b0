//! `kase doctor`: a check list of this host for this user, each item with its remedy.

use super::arguments::Arguments;
use super::context::Context;
use super::exit::ExitCode;
use super::paint::{Colour, Paint, counted, object};
use super::table::{self, print};
use crate::container::request::Request;
use crate::doctor::{self, Outlook};
use crate::fault::printable;
use rootless::checks::{Check, Level};
use serde_json::Value;
use std::io::{self, Write};
use std::path::PathBuf;

pub fn run(context: Context, arguments: &Arguments<'_>) -> anyhow::Result<ExitCode> {
    let checks = doctor::host(&context.caller)?;
    let heading = format!("what this host gives uid {} ({})", context.caller.uid, context.caller.called());
    let outlook = arguments.path("bundle").map(|bundle| {
        let shown = bundle.display().to_string();
        (shown, doctor::outlook(context.caller.clone(), &request(&context, arguments, bundle)))
    });
    let failed = checks.iter().any(|check| check.level == Level::Failure)
        || outlook.as_ref().is_some_and(|(_, outlook)| outlook.fault.is_some());
    let mut out = Vec::new();
    match table::is_json(arguments) {
        true => writeln!(out, "{}", document(&checks, outlook.as_ref(), !failed))?,
        false => {
            writeln!(out, "{}:\n", printable(&heading))?;
            show(&checks, outlook.as_ref(), Paint::of_stdout(), &mut out)?;
        }
    }
    print(out)?;
    Ok(ExitCode::from(u8::from(failed)))
}

/// As `create` would be asked, with nothing more than the bundle.
fn request(context: &Context, arguments: &Arguments<'_>, bundle: PathBuf) -> Request {
    Request {
        id: "doctor".to_string(),
        bundle,
        config: arguments.path("config"),
        adapt: context.adapt,
        cgroups: context.cgroups,
        ..Request::default()
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Ok => "ok",
        Level::Warning => "warning",
        Level::Failure => "failure",
    }
}

fn show(
    checks: &[Check],
    outlook: Option<&(String, Outlook)>,
    paint: Paint,
    out: &mut impl Write,
) -> io::Result<()> {
    for check in checks {
        line(check.level, check.name, &check.found, check.remedy.as_deref(), paint, out)?;
    }
    if let Some((bundle, outlook)) = outlook {
        let (level, found) = match &outlook.fault {
            None => (Level::Ok, "it runs here"),
            Some(report) => (Level::Failure, report.line.as_str()),
        };
        let remedy = outlook.fault.as_ref().and_then(|report| report.remedy.as_deref());
        writeln!(out, "\nthe bundle {}:\n", printable(bundle))?;
        line(level, "config.json", found, remedy, paint, out)?;
        for (_, text) in &outlook.adaptations {
            writeln!(out, "           adapted: {}", printable(text))?;
        }
    }
    let count = |level| checks.iter().filter(|check| check.level == level).count();
    let failures =
        count(Level::Failure) + usize::from(outlook.is_some_and(|(_, outlook)| outlook.fault.is_some()));
    let warnings = count(Level::Warning);
    writeln!(out, "\n{}, {}", counted(failures, "failure"), counted(warnings, "warning"))
}

fn line(
    level: Level,
    name: &str,
    found: &str,
    remedy: Option<&str>,
    paint: Paint,
    out: &mut impl Write,
) -> io::Result<()> {
    let colour = match level {
        Level::Ok => Colour::Green,
        Level::Warning => Colour::Yellow,
        Level::Failure => Colour::Red,
    };
    let (level, found) = (paint.dress(colour, &format!("{:<8}", word(level))), printable(found));
    writeln!(out, "{level} {name:<16}  {found}")?;
    match remedy {
        Some(remedy) => writeln!(out, "           help: {}", printable(remedy)),
        None => Ok(()),
    }
}

/// As `--log-level` has it.
fn importance(level: tracing::Level) -> &'static str {
    match level {
        tracing::Level::WARN => "warn",
        tracing::Level::INFO => "info",
        _ => "debug",
    }
}

/// The same as JSON: extras/schemas/doctor.json.
fn document(checks: &[Check], outlook: Option<&(String, Outlook)>, ok: bool) -> Value {
    let one = |check: &Check| {
        object([
            ("name", check.name.into()),
            ("level", word(check.level).into()),
            ("found", check.found.as_str().into()),
            ("remedy", check.remedy.as_deref().into()),
        ])
    };
    let bundle = |(path, outlook): &(String, Outlook)| {
        let adapted = |(level, text): &(tracing::Level, String)| {
            object([("level", importance(*level).into()), ("text", text.as_str().into())])
        };
        let fault = outlook.fault.as_ref();
        object([
            ("path", path.as_str().into()),
            ("runs", fault.is_none().into()),
            ("fault", fault.map(|report| report.line.as_str()).into()),
            ("remedy", fault.and_then(|report| report.remedy.as_deref()).into()),
            ("adaptations", outlook.adaptations.iter().map(adapted).collect()),
        ])
    };
    object([
        ("ok", ok.into()),
        ("checks", checks.iter().map(one).collect()),
        ("bundle", outlook.map(bundle).into()),
    ])
}
