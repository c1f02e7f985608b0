//! Runs a command under ptrace and lets one system call of it fail, or kills the process that enters it.
//!
//! ```text
//! inject log=FILE [uid=UID gid=GID] [attach=PID] [at=PROCESS:NUMBER:N:kill | at=PROCESS:NUMBER:N:ERRNO]
//!        -- PROGRAM [ARG…]
//! inject log=FILE hold=before|after calls=NUMBER[,NUMBER…] [path=END] until=FILE -- PROGRAM [ARG…]
//! inject type=TEXT
//! ```
//!
//! A process is named by its descent: `1` is the command, `1.2` its second child. N counts, from 1, a process's system
//! calls with this number, so that one more or less of another call, as when something has to be waited for, changes
//! nothing. A process that executes the tests' payload is the container's own from there on, and left alone.
//! Without `at` each call is written to the log as `PROCESS NUMBER N PROGRAM`, where PROGRAM is empty until the process
//! executes one; with `at`, the call that was met.
//! With `hold` the command alone is followed, and stands still before or after the first of these calls, of those with
//! a path that ends in this, until the file is there. The log is no longer empty once it stands.
//! With `type` there is no command: it types into each terminal that it has.
//!
//! It ends as the command does; `128 + N` if a signal ended that.

mod hold;
mod registers;
mod tracer;
mod typing;

use hold::Hold;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Error};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use tracer::{Deed, Point, Tracer};

fn main() -> ExitCode {
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("inject: {error}");
            ExitCode::from(120)
        }
    }
}

fn run() -> Result<u8, Error> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(text) = words.first().and_then(|word| word.strip_prefix("type=")) {
        typing::type_into_all(text);
        return Ok(0);
    }
    let end = words.iter().position(|word| word == "--").ok_or_else(|| wrong("there is no --"))?;
    let options: BTreeMap<&str, &str> = words[..end].iter().filter_map(|word| word.split_once('=')).collect();
    let log = options.get("log").ok_or_else(|| wrong("log=FILE is missing"))?;
    let point = options
        .get("at")
        .map(|text| point(text).ok_or_else(|| wrong("at=PROCESS:NUMBER:N:ERRNO")))
        .transpose()?;
    let number = |name: &str| options.get(name).and_then(|text| text.parse::<u32>().ok());
    // It waits until it is traced. As it has dropped its rights by then, a setuid helper has those of who traces.
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "kill -STOP $$; exec \"$@\"", "sh"]).args(&words[end + 1..]);
    if let (Some(uid), Some(gid)) = (number("uid"), number("gid")) {
        command.uid(uid).gid(gid);
    }
    let mut log = BufWriter::new(File::create(log)?);
    let hold = options
        .contains_key("hold")
        .then(|| hold(&options).ok_or_else(|| wrong("hold=before|after")))
        .transpose()?;
    let child = command.spawn()?;
    if let Some(hold) = hold {
        return Ok(hold.run(child.id().cast_signed(), &mut log)?);
    }
    let init = number("attach").map(u32::cast_signed);
    Ok(Tracer::new(child.id().cast_signed(), init, point, log)?.run()?)
}

fn hold<'a>(options: &'a BTreeMap<&'a str, &'a str>) -> Option<Hold<'a>> {
    Some(Hold {
        after: match *options.get("hold")? {
            "before" => false,
            "after" => true,
            _ => return None,
        },
        calls: options.get("calls")?.split(',').map(|call| call.parse().ok()).collect::<Option<_>>()?,
        path: options.get("path").copied(),
        until: Path::new(options.get("until")?),
    })
}

fn point(text: &str) -> Option<Point> {
    let mut words = text.split(':');
    let process = words.next()?.to_owned();
    let (number, nth) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let deed = match words.next()? {
        "kill" => Deed::Kill,
        number => Deed::Fail(number.parse().ok()?),
    };
    Some(Point { process, number, nth, deed })
}

fn wrong(why: &str) -> Error {
    Error::other(why.to_owned())
}
