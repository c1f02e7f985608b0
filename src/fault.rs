//! What went wrong, where in config.json, and what to do about it.
//!
//! Every error that a person sees is one line, `kase: create web: mounts[4]: bind /srv/data: …`, and at
//! most one `help:` line. The line is the chain of an [`anyhow::Error`]; a [`Fault`] in it names the place
//! and carries the remedy.

use nix::errno::Errno;
use rootless::diagnose;
use std::borrow::Cow;
use std::error::Error;
use std::fmt::{self, Display};
use std::io;

/// A path into config.json. Cheap to copy, printed only when something fails: `mounts[4].source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    path: &'static str,
    index: Option<usize>,
    tail: &'static str,
}

impl Place {
    /// A place without an index, such as `process.cwd`.
    pub const fn of(path: &'static str) -> Self {
        Self { path, index: None, tail: "" }
    }

    /// An element of a list, such as `mounts[4]`.
    pub const fn nth(path: &'static str, index: usize) -> Self {
        Self { path, index: Some(index), tail: "" }
    }

    /// A field of this element; `tail` begins with a dot, as in `.source`.
    pub const fn field(self, tail: &'static str) -> Self {
        Self { tail, ..self }
    }
}

impl Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.path)?;
        if let Some(index) = self.index {
            write!(out, "[{index}]")?;
        }
        out.write_str(self.tail)
    }
}

/// One link of an error's chain: the place, what we were doing, the remedy, and the cause.
#[derive(Debug)]
pub struct Fault {
    at: Option<String>,
    doing: String,
    remedy: Option<String>,
    cause: Option<anyhow::Error>,
}

impl Fault {
    /// A fault at a place in config.json. `doing` starts with a verb, or says what is wrong there.
    pub fn at(place: impl Display, doing: impl Into<String>) -> Self {
        Self { at: Some(place.to_string()), doing: doing.into(), remedy: None, cause: None }
    }

    /// A fault that config.json has no part in.
    pub fn doing(doing: impl Into<String>) -> Self {
        Self { at: None, doing: doing.into(), remedy: None, cause: None }
    }

    /// The place in config.json, if it has one.
    pub fn place(&self) -> Option<&str> {
        self.at.as_deref()
    }

    /// What the reader can do about it; starts with a verb.
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// This fault as the cause of one that says what we were doing around it.
    pub fn within(self, doing: impl Into<String>) -> anyhow::Error {
        Self::doing(doing).caused_by(self)
    }

    /// The fault with its cause, for errors that have more to say than their text.
    pub fn caused_by(mut self, cause: impl Into<anyhow::Error>) -> anyhow::Error {
        self.cause = Some(cause.into());
        self.into()
    }
}

impl Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            Some(at) => write!(out, "{at}: {}", self.doing),
            None => out.write_str(&self.doing),
        }
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_ref().map(|cause| cause.as_ref() as &(dyn Error + 'static))
    }
}

/// Wraps an error into the [`Fault`] that explains it, which is built only when there is an error.
pub trait OrFault<T> {
    /// The value, or the fault with this error as its cause. Where the error is that something has run out (EMFILE,
    /// ENOSPC), what helps against that takes the place of the fault's remedy.
    fn or_fault(self, fault: impl FnOnce() -> Fault) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> OrFault<T> for Result<T, E> {
    fn or_fault(self, fault: impl FnOnce() -> Fault) -> anyhow::Result<T> {
        self.map_err(|cause| {
            let cause = cause.into();
            let fault = fault();
            // The fault's own remedy is for what usually goes wrong there.
            let remedy = lacking(&*cause).or(fault.remedy);
            anyhow::Error::new(Fault { remedy, cause: Some(cause), ..fault })
        })
    }
}

/// What to do about an error of the kernel's that something has run out.
fn lacking(link: &(dyn Error + 'static)) -> Option<String> {
    let errno = match link.downcast_ref::<Errno>() {
        Some(errno) => *errno,
        None => Errno::from_raw(link.downcast_ref::<io::Error>()?.raw_os_error()?),
    };
    diagnose::shortage(errno).or_else(|| diagnose::of_space(errno))
}

/// An error as a person sees it.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    /// The whole chain on one line.
    pub line: String,
    /// The remedy nearest to the cause.
    pub remedy: Option<String>,
}

impl Report {
    /// Flattens the chain of `error`.
    pub fn of(error: &anyhow::Error) -> Self {
        let mut line = String::new();
        let mut remedy = None;
        for link in error.chain() {
            if !line.is_empty() {
                line.push_str(": ");
            }
            line.push_str(&printable(&text(link)));
            if let Some(fault) = link.downcast_ref::<Fault>() {
                remedy = fault.remedy.clone().or(remedy);
            }
        }
        let remedy = remedy.or_else(|| error.chain().find_map(lacking));
        Self { line, remedy: remedy.map(|remedy| printable(&remedy).into_owned()) }
    }

    /// The report as an error again, on the other side of a handshake.
    pub fn into_error(self) -> anyhow::Error {
        Fault { at: None, doing: self.line, remedy: self.remedy, cause: None }.into()
    }
}

/// The text on one line, and with nothing that a terminal obeys: some of it is a container's or a stranger's.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let mut shown = String::new();
    for c in text.chars() {
        match c {
            '\n' | '\t' => shown.push(' '),
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown.into()
}

/// An errno reads the same whichever crate it came through.
fn text(link: &(dyn Error + 'static)) -> String {
    match link.downcast_ref::<Errno>() {
        Some(errno) => io::Error::from(*errno).to_string(),
        None => link.to_string(),
    }
}

impl Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "kase: {}", self.line)?;
        match &self.remedy {
            Some(remedy) => write!(out, "\n  help: {remedy}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_place_prints_as_a_path_into_the_config() {
        assert_eq!(Place::nth("mounts", 4).field(".source").to_string(), "mounts[4].source");
        assert_eq!(Place::of("process.cwd").to_string(), "process.cwd");
    }

    #[test]
    fn a_report_is_one_line_with_the_innermost_remedy() {
        let cause: Result<(), _> = Err(io::Error::from_raw_os_error(2));
        let error = cause
            .or_fault(|| {
                Fault::at(Place::nth("mounts", 4), "bind /srv/data").remedy("create /srv/data on the host")
            })
            .or_fault(|| Fault::doing("outer").remedy("never shown"))
            .context("create web")
            .unwrap_err();
        assert_eq!(
            Report::of(&error).to_string(),
            "kase: create web: outer: mounts[4]: bind /srv/data: No such file or directory (os error 2)\n  \
             help: create /srv/data on the host"
        );
    }

    #[test]
    fn what_has_run_out_is_the_remedy_unless_the_fault_knew_of_it() {
        let full = || io::Error::from_raw_os_error(libc::ENOSPC);
        let remedy = |error: anyhow::Error| Report::of(&error).remedy.unwrap_or_default();
        let fault = || Fault::doing("write the pid file").remedy("name a file that you may write to");
        let usual = Err::<(), _>(full())
            .or_fault(fault)
            .or_fault(|| Fault::doing("create web").remedy("never shown"));
        assert!(remedy(usual.unwrap_err()).starts_with("free some space"));
        assert!(remedy(anyhow::Error::new(full()).context("create web")).starts_with("free some space"));
        assert_eq!(remedy(fault().caused_by(full())), "name a file that you may write to");
        let other = Err::<(), _>(Errno::EACCES).or_fault(fault);
        assert_eq!(remedy(other.unwrap_err()), "name a file that you may write to");
    }
}
