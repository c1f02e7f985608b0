//! Lines of /proc/PID/mountinfo; proc_pid_mountinfo(5).

use std::borrow::Cow;

/// `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS … - TYPE SOURCE OPTIONS`
#[derive(Debug)]
pub struct Mount<'a> {
    /// The whole line, without its end.
    pub text: &'a str,
    /// The type of the file system.
    pub kind: &'a str,
    /// The file system's own options.
    pub options: &'a str,
    /// What stands before the type.
    before: &'a str,
}

/// The mounts, in their order. A line is taken apart from its end, where most turn out to be of no interest.
pub fn mounts(mountinfo: &str) -> impl Iterator<Item = Mount<'_>> {
    mountinfo.split('\n').filter_map(|text| {
        let (rest, options) = last(text)?;
        let (rest, _source) = last(rest)?;
        let (before, kind) = last(rest)?;
        Some(Mount { text, kind, options, before })
    })
}

impl<'a> Mount<'a> {
    /// What of the file system is mounted.
    pub fn root(&self) -> Option<Cow<'a, str>> {
        self.path(3)
    }

    /// Where.
    pub fn point(&self) -> Option<Cow<'a, str>> {
        self.path(4)
    }

    fn path(&self, index: usize) -> Option<Cow<'a, str>> {
        // By bytes, as below: for fields as short as these, std's search for a character is slower.
        let field = self.before.as_bytes().split(|byte| *byte == b' ').nth(index)?;
        Some(unescaped(str::from_utf8(field).ok()?))
    }
}

/// The kernel writes these four in octal, so that they are neither between fields nor lines.
fn unescaped(field: &str) -> Cow<'_, str> {
    if !field.as_bytes().contains(&b'\\') {
        return field.into();
    }
    // The backslash comes last, since what it is written as may stand before digits of the path's own.
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .into_iter()
        .fold(field.to_owned(), |text, (code, character)| text.replace(code, character))
        .into()
}

/// What is before and behind the last space.
fn last(text: &str) -> Option<(&str, &str)> {
    let space = text.bytes().rposition(|byte| byte == b' ')?;
    Some((&text[..space], &text[space + 1..]))
}
