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
    /// The value, or the fault with this error as its cause. The fault's own remedy stays, but where no more files can
    /// be open: that has nothing to do with what is done.
    fn or_fault(self, fault: impl FnOnce() -> Fault) -> anyhow::Result<T>;

    /// As [`OrFault::or_fault`], of calls that write to a file system: where its room has run out, what helps against
    /// that takes the place of the fault's remedy. From other calls ENOSPC and EDQUOT mean something else.
    fn or_write_fault(self, fault: impl FnOnce() -> Fault) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> OrFault<T> for Result<T, E> {
    fn or_fault(self, fault: impl FnOnce() -> Fault) -> anyhow::Result<T> {
        explain(self, fault, |errno| match errno {
            Errno::EMFILE | Errno::ENFILE => diagnose::shortage(errno),
            _ => None,
        })
    }

    fn or_write_fault(self, fault: impl FnOnce() -> Fault) -> anyhow::Result<T> {
        explain(self, fault, |errno| diagnose::shortage(errno).or_else(|| diagnose::of_space(errno)))
    }
}

/// The fault's remedy is for what usually goes wrong there; `shortage` tells of what has run out instead.
fn explain<T, E: Into<anyhow::Error>>(
    result: Result<T, E>,
    fault: impl FnOnce() -> Fault,
    shortage: impl FnOnce(Errno) -> Option<String>,
) -> anyhow::Result<T> {
    result.map_err(|cause| {
        let cause = cause.into();
        let fault = fault();
        let remedy = errno_of(&*cause).and_then(shortage).or(fault.remedy);
        anyhow::Error::new(Fault { remedy, cause: Some(cause), ..fault })
    })
}

/// The kernel's error number, whichever crate it came through.
fn errno_of(link: &(dyn Error + 'static)) -> Option<Errno> {
    let errno = || Some(Errno::from_raw(link.downcast_ref::<io::Error>()?.raw_os_error()?));
    link.downcast_ref::<Errno>().copied().or_else(errno)
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
        Self::in_step(error, "")
    }

    /// The same; where the kernel's answer is all that there is, `step` says when it came.
    pub fn in_step(error: &anyhow::Error, step: &str) -> Self {
        let is_told = step.is_empty() || error.chain().any(<dyn Error>::is::<Fault>);
        let mut line = String::new();
        let mut remedy = None;
        for link in error.chain() {
            if !line.is_empty() {
                line.push_str(": ");
            }
            if !is_told && errno_of(link).is_some() {
                line.extend(["step \"", step, "\": "]);
            }
            line.push_str(&printable(&text(link)));
            if let Some(fault) = link.downcast_ref::<Fault>() {
                remedy = fault.remedy.clone().or(remedy);
            }
        }
        let remedy = remedy.or_else(|| error.chain().find_map(|link| diagnose::shortage(errno_of(link)?)));
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

/// JSON in which nothing is left that a terminal obeys. serde escapes what JSON must not have as it is, which leaves
/// DEL and the control characters of ISO 8859: of these, one begins a sequence as ESC does. They stand in strings alone.
pub fn printable_json(json: &str) -> Cow<'_, str> {
    let is_left = |c: char| c.is_control() && !c.is_ascii_control() || c == '\u{7f}';
    if !json.contains(is_left) {
        return json.into();
    }
    let mut shown = String::new();
    for c in json.chars() {
        match is_left(c) {
            true => shown.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => shown.push(c),
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
    fn json_keeps_its_meaning_without_what_a_terminal_obeys() {
        let text = "ä\u{9b}31m\u{7f}\u{85}\u{1b}";
        let shown = printable_json(&serde_json::Value::from(text).to_string()).into_owned();
        assert_eq!(shown, r#""ä\u009b31m\u007f\u0085\u001b""#);
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
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
    fn what_has_run_out_is_the_remedy_where_it_is_known_what_that_is() {
        let error = io::Error::from_raw_os_error;
        let remedy = |error: anyhow::Error| Report::of(&error).remedy.unwrap_or_default();
        let fault = || Fault::doing("write the pid file").remedy("name a file that you may write to");
        let failed = |number| Err::<(), _>(error(number));
        let outer = || Fault::doing("create web").remedy("never shown");
        let usual = failed(libc::ENOSPC).or_write_fault(fault).or_fault(outer);
        assert!(remedy(usual.unwrap_err()).starts_with("free some space"));
        for (number, shortage) in
            [(libc::EMFILE, "raise the limit of open files"), (libc::ENOMEM, "free some memory")]
        {
            assert!(remedy(anyhow::Error::new(error(number)).context("create web")).starts_with(shortage));
            let unhelped = failed(number).or_fault(|| Fault::doing("create web"));
            assert!(remedy(unhelped.unwrap_err()).starts_with(shortage));
            assert!(remedy(failed(number).or_write_fault(fault).unwrap_err()).starts_with(shortage));
        }
        assert!(
            remedy(failed(libc::EMFILE).or_fault(fault).unwrap_err()).starts_with("raise the limit of open")
        );
        assert_eq!(remedy(fault().caused_by(error(libc::EMFILE))), "name a file that you may write to");
        // Of a mount, a key, a namespace: no disk is full.
        for number in [libc::ENOSPC, libc::EDQUOT, libc::ENOMEM] {
            assert_eq!(
                remedy(failed(number).or_fault(fault).unwrap_err()),
                "name a file that you may write to"
            );
        }
        assert_eq!(remedy(failed(libc::ENOSPC).or_fault(|| Fault::doing("make a mount")).unwrap_err()), "");
        let other = Err::<(), _>(Errno::EACCES).or_fault(fault);
        assert_eq!(remedy(other.unwrap_err()), "name a file that you may write to");
    }
}
