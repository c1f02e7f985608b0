//! `kase exec`.

use super::arguments::{Arguments, number};
use super::context::Context;
use super::exit::{ExitCode, fail};
use crate::container::exec::{self, Request};
use crate::fault::Fault;
use crate::plan::exec::Changes;
use anyhow::Context as _;

pub fn run(context: Context, arguments: &Arguments<'_>) -> anyhow::Result<ExitCode> {
    let id = arguments.id();
    let doing = || format!("exec {id}");
    let outcome = request(&context, arguments).and_then(|request| {
        let container = context.store()?.ours(id)?;
        exec::exec(&container, request)
    });
    match outcome.with_context(doing) {
        Ok(code) => Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))),
        // What could not be executed must not be taken for a program's own failure.
        Err(error) => Ok(fail(&error, u8::MAX)),
    }
}

fn request(context: &Context, arguments: &Arguments<'_>) -> anyhow::Result<Request> {
    let text = |name| arguments.text(name).map(String::from);
    let path = |name| arguments.path(name);
    let texts = |name| arguments.texts(name).map(String::from).collect::<Vec<_>>();
    let gids = arguments.texts("additional-gids").map(|gid| number("additional-gids", gid));
    let process = path("process");
    let program = texts("command");
    if process.is_none() && program.is_empty() {
        return Err(Fault::doing("there is no program to run")
            .remedy("name it after the id, or give --process")
            .into());
    }
    let changes = Changes {
        arguments: program,
        cwd: text("cwd"),
        environment: texts("env"),
        user: None,
        additional_gids: gids.collect::<Result<_, _>>()?,
        terminal: arguments.flag("tty"),
        no_new_privileges: arguments.flag("no-new-privs"),
        capabilities: texts("cap"),
        apparmor: text("apparmor"),
        label: text("process-label"),
    };
    Ok(Request {
        adapt: context.adapt,
        standing: context.caller.standing,
        process,
        changes,
        user: text("user"),
        console_socket: path("console-socket"),
        pid_file: path("pid-file"),
        pidfd_socket: path("pidfd-socket"),
        detach: arguments.flag("detach"),
        tty: arguments.flag("tty"),
        preserve_fds: arguments.number("preserve-fds")?,
        no_subreaper: arguments.flag("no-subreaper"),
        cgroups: texts("cgroup"),
        ignore_paused: arguments.flag("ignore-paused"),
    })
}
