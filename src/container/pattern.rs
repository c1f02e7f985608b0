//! Several containers at once, by a regular expression over their ids (`--regex`).

use super::store::Store;
use crate::fault::{Fault, OrFault, Report};
use regex_lite::Regex;

/// Does `action` to every container whose id has a match for `pattern` in it. What fails is a warning, and the
/// others still have their turn, as with crun.
///
/// # Errors
/// No regular expression, or a state root that cannot be read.
pub fn each(store: &Store, pattern: &str, action: impl Fn(&str) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let pattern = Regex::new(pattern).or_fault(|| {
        Fault::doing(format!("invalid regular expression {pattern:?}"))
            .remedy("write it as for grep -E; ^web- are the ids that begin with web-")
    })?;
    for id in store.ids()?.iter().filter(|id| pattern.is_match(id)) {
        if let Err(error) = action(id) {
            tracing::warn!("{id}: {}", Report::of(&error).line);
        }
    }
    Ok(())
}
