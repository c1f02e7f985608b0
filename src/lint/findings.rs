//! What was found, and where.

use crate::json_tree::Cursor;
use std::collections::HashSet;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// It cannot work, or not as it is written; `--strict` refuses it.
    Error,
    /// It works, and leaves the container open, or is worth a look.
    Warning,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// In the file, from 1.
    pub line: usize,
    /// In the line, from 1, in characters.
    pub column: usize,
    /// A path into config.json; empty for the file as a whole.
    pub place: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it, if that is known.
    pub remedy: Option<String>,
}

/// What was found so far.
#[derive(Default)]
pub struct Findings {
    /// With the offset into the text.
    list: Vec<(usize, Finding)>,
    /// Places that have an error.
    wrong: HashSet<String>,
}

impl Findings {
    /// It cannot work as it is written.
    pub fn error(&mut self, at: usize, place: &str, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(Level::Error, at, place, what.into(), Some(remedy.into()));
    }

    /// It is weak.
    pub fn warning(&mut self, at: usize, place: &str, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(Level::Warning, at, place, what.into(), Some(remedy.into()));
    }

    /// How many there are so far.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// Adds one; of several errors at one place the first is told.
    pub fn add(&mut self, level: Level, at: usize, place: &str, what: String, remedy: Option<String>) {
        // A rule and the plan may find the same error.
        if level == Level::Error && !self.wrong.insert(place.to_string()) {
            return;
        }
        self.list.push((at, Finding { level, line: 0, column: 0, place: place.to_string(), what, remedy }));
    }

    /// In the order of the file, each with its line and column.
    pub fn placed(mut self, text: &[u8]) -> Vec<Finding> {
        self.list.sort_by_key(|(at, _)| *at);
        let mut cursor = Cursor::new(text);
        self.list
            .into_iter()
            .map(|(at, mut finding)| {
                (finding.line, finding.column) = cursor.line_and_column(at);
                finding
            })
            .collect()
    }
}
