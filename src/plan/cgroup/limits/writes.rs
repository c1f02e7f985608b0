//! The files and values of limits, and how they are collected.

use crate::fault::{Fault, Place};
use crate::plan::cgroup::Version;
use crate::plan::cgroup::devices::Rule;
use crate::plan::notes::Notes;
use std::borrow::Cow;
use std::fmt;

/// Everything that is written into a cgroup.
#[derive(Debug)]
pub struct Limits {
    /// For which version.
    pub version: Version,
    /// In this order.
    pub writes: Vec<Write>,
    /// Nothing leaves access to devices as it is.
    pub devices: Option<Vec<Rule>>,
    /// `memory.checkBeforeUpdate`: refused when more is in use already.
    pub check: Option<Check>,
}

/// A value for a file of a controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// What asked for it.
    pub at: At,
    /// Whose file it is, in the version's own word: `io`, `blkio`.
    pub controller: Cow<'static, str>,
    pub file: Cow<'static, str>,
    /// What is written, a write(2) for each line.
    pub value: Value,
    /// What if the file is not there.
    pub missing: Missing,
}

/// A place in config.json, also one that is named by what the user wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// One that kase knows.
    Place(Place),
    /// A key of a map.
    Key(Place, String),
}

/// What is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// This.
    Text(String),
    /// The file's first word as it is, then this: a period without a quota.
    AfterFirstWord(String),
    /// What is left of memory and swap together beside the memory limit in force.
    SwapOf {
        /// Together.
        total: i64,
    },
    /// Swap such that memory and swap together stay, once memory has this limit.
    SwapBeside {
        /// The new limit.
        memory: i64,
    },
}

/// What if a file is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// The limit cannot be had.
    Refuse,
    /// It does not matter.
    Skip,
    /// Another file says the same.
    Instead(&'static str, String),
}

/// A limit that must be above what is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    /// Bytes of memory.
    pub memory: Option<i64>,
    /// Bytes of memory and swap.
    pub total: Option<i64>,
}

/// Whether the cgroup is new, or has limits already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// It is new.
    Create,
    /// What is not mentioned stays.
    Update,
}

impl Limits {
    /// No limits.
    pub fn none(version: Version) -> Self {
        Self { version, writes: Vec::new(), devices: None, check: None }
    }

    /// The place of the first limit.
    pub fn first(&self) -> Option<Place> {
        self.writes.iter().find(|write| write.missing != Missing::Skip).map(|write| match write.at {
            At::Place(place) | At::Key(place, _) => place,
        })
    }
}

impl fmt::Display for At {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place(place) => place.fmt(out),
            Self::Key(place, key) => write!(out, "{place}.{key}"),
        }
    }
}

/// The writes, while they are collected.
pub struct Writes<'a> {
    /// For which version.
    pub version: Version,
    /// Into a new cgroup or not.
    pub occasion: Occasion,
    /// So far.
    pub list: Vec<Write>,
    /// What there is to say.
    pub notes: &'a mut Notes,
}

impl Writes<'_> {
    /// Adds a value for a file.
    pub fn write(&mut self, at: Place, file: &'static str, value: impl ToString) -> &mut Write {
        self.add(At::Place(at), file.into(), Value::Text(value.to_string()))
    }

    /// Adds what may need more to be told of it.
    pub fn add(&mut self, at: At, file: Cow<'static, str>, value: Value) -> &mut Write {
        let controller = match &file {
            Cow::Borrowed(file) => file.split('.').next().unwrap_or_default().into(),
            Cow::Owned(file) => file.split('.').next().unwrap_or_default().to_string().into(),
        };
        self.list.push(Write { at, controller, file, value, missing: Missing::Refuse });
        self.list.last_mut().expect("just pushed")
    }

    /// v1's file, or v2's.
    pub fn either(&self, v1: &'static str, v2: &'static str) -> &'static str {
        match self.version {
            Version::V1 => v1,
            Version::V2 => v2,
        }
    }

    /// A field that this version has no file for.
    pub fn left_out(&mut self, at: Place) {
        let version = self.either("v1", "v2");
        self.notes.warn(format!("{at}: left out, cgroup {version} has nothing like it"));
    }
}

/// A number of bytes: nothing when it is unset, `max` for -1.
pub fn bytes(value: Option<i64>, at: Place, unlimited: &str) -> Result<Option<String>, Fault> {
    match value {
        None | Some(0) => Ok(None),
        Some(-1) => Ok(Some(unlimited.to_string())),
        Some(value) if value < 0 => Err(negative(at, value)),
        Some(value) => Ok(Some(value.to_string())),
    }
}

/// A limit below none.
pub fn negative(at: Place, value: i64) -> Fault {
    Fault::at(at, format!("{value} is no limit")).remedy("use a number from 0 up, or -1 for no limit")
}

/// Whether swappiness is set: engines in Go write -1 as the largest number.
pub fn is_set(swappiness: u64) -> bool {
    swappiness != u64::MAX
}
