//! `kase gc`.

use super::arguments::Arguments;
use super::context::Context;
use super::exit::ExitCode;
use super::table::{self, Wide, print};
use crate::container::delete::{self, Force};
use crate::container::explain::Entry;
use crate::container::gc;
use crate::fault::Report;
use anyhow::Context as _;
use std::fmt::Display;
use std::path::Path;

pub fn run(context: Context, arguments: &Arguments<'_>) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    let mut removed = Vec::new();
    for found in gc::find(&context.store()?)? {
        let gone = found.and_then(|(container, reason)| match arguments.flag("dry-run") {
            true => Ok((container, reason)),
            false => delete::remove(&container, Force::Yes)
                .with_context(|| container.id().to_string())
                .map(|()| (container, reason)),
        });
        let (container, reason) = match gone {
            Ok(gone) => gone,
            Err(error) => {
                tracing::warn!("{}", Report::of(&error).line);
                code = ExitCode::FAILURE;
                continue;
            }
        };
        let bundle = container.facts().map_or(Path::new(""), |facts| &facts.bundle);
        let fields: [(_, &dyn Display); 3] =
            [("id", &container.id()), ("reason", &reason.word()), ("bundle", &bundle.display())];
        removed.push(Entry::of(&fields));
    }
    let mut out = Vec::new();
    if table::is_json(arguments) {
        print(serde_json::to_string_pretty(&removed)? + "\n")?;
        return Ok(code);
    }
    let mut table = Wide::of(["ID", "REASON", "BUNDLE"]);
    for Entry(fields) in &removed {
        table.row(std::array::from_fn(|column| fields[column].1.as_str()));
    }
    table.write(&mut out)?;
    print(out)?;
    Ok(code)
}
