//! `kase exec`.

use super::{Building, Context, ExitCode, all_given, flag, given};
use crate::container::exec::{self, Request};
use crate::fault::Fault;
use crate::plan::exec::Changes;
use anyhow::Context as _;
use clap::{Arg, ArgAction, ArgMatches, value_parser};

pub fn arguments(command: Building<'_>) -> Building<'_> {
    let program = Arg::new("command")
        .value_name("COMMAND")
        .trailing_var_arg(true)
        .allow_hyphen_values(true)
        .num_args(0..)
        .help("The program and its arguments");
    let path = |option: Arg, help| option.value_parser(super::path()).value_name("FILE").help(help);
    let yes = |option: Arg, help| option.action(ArgAction::SetTrue).help(help);
    let list = |option: Arg, value, help| option.action(ArgAction::Append).value_name(value).help(help);
    let text = |option: Arg, value, help| option.value_name(value).help(help);
    command
        .with(|command| command.arg(super::id()).arg(program))
        .option("process", Some('p'), |option| {
            path(option, "The process as JSON, instead of all other flags")
        })
        .option("cwd", None, |option| text(option, "DIR", "Working directory"))
        .option("env", Some('e'), |option| list(option, "NAME=VALUE", "Add an environment variable"))
        .option("user", Some('u'), |option| {
            text(option, "USER[:GROUP]", "User, by the container's passwd and group")
        })
        .option("additional-gids", Some('g'), |option| {
            list(option, "GID", "Add a supplementary group").value_parser(value_parser!(u32))
        })
        .option("tty", Some('t'), |option| yes(option, "Give it a terminal"))
        .option("console-socket", None, |option| path(option, "Unix socket to send the terminal's master to"))
        .option("detach", Some('d'), |option| yes(option, "Do not wait for it to end"))
        .option("pid-file", None, |option| path(option, "File to write its process id to"))
        .option("pidfd-socket", None, |option| path(option, "Unix socket to send a pidfd of the process to"))
        .option("process-label", None, |option| text(option, "LABEL", "SELinux label"))
        .option("apparmor", None, |option| text(option, "PROFILE", "AppArmor profile"))
        .option("no-new-privs", None, |option| yes(option, "Set no_new_privs"))
        .option("cap", Some('c'), |option| list(option, "CAP", "Add a capability"))
        .option("preserve-fds", None, |option| {
            text(option, "N", "Pass N descriptors, from 3 on")
                .value_parser(value_parser!(u32))
                .default_value("0")
        })
        .option("cgroup", None, |option| list(option, "PATH", "Put it into a cgroup below the container's"))
        .option("ignore-paused", None, |option| yes(option, "Allow it in a paused container, where it waits"))
        .option("no-subreaper", None, |option| yes(option, "Do not adopt its orphans"))
}

pub fn run(context: Context, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let id = super::id_of(matches);
    let doing = || format!("exec {id}");
    let outcome = request(&context, matches).and_then(|request| {
        let container = context.store()?.ours(id)?;
        exec::exec(&container, request)
    });
    match outcome.with_context(doing) {
        Ok(code) => Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))),
        // What could not be executed must not be taken for a program's own failure.
        Err(error) => Ok(super::fail(&error, u8::MAX)),
    }
}

fn request(context: &Context, matches: &ArgMatches) -> anyhow::Result<Request> {
    // As with paths, an empty one is as good as none.
    let text = |name| given::<String>(matches, name).filter(|text| !text.is_empty()).cloned();
    let path = |name| super::path_of(matches, name);
    let texts = |name| all_given::<String>(matches, name).cloned().collect::<Vec<_>>();
    let process = path("process");
    let arguments = texts("command");
    if process.is_none() && arguments.is_empty() {
        return Err(Fault::doing("there is no program to run")
            .remedy("name it after the id, or give --process")
            .into());
    }
    let changes = Changes {
        arguments,
        cwd: text("cwd"),
        environment: texts("env"),
        user: None,
        additional_gids: all_given(matches, "additional-gids").copied().collect(),
        terminal: flag(matches, "tty"),
        no_new_privileges: flag(matches, "no-new-privs"),
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
        detach: flag(matches, "detach"),
        tty: flag(matches, "tty"),
        preserve_fds: given(matches, "preserve-fds").copied().unwrap_or(0),
        no_subreaper: flag(matches, "no-subreaper"),
        cgroups: texts("cgroup"),
        ignore_paused: flag(matches, "ignore-paused"),
    })
}
