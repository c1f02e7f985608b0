//! `kase exec`.

use super::{Context, ExitCode};
use crate::container::exec::{self, Request};
use crate::fault::Fault;
use crate::plan::exec::Changes;
use anyhow::Context as _;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

pub fn arguments(command: Command) -> Command {
    let flag = |name: &'static str, help: &'static str| Arg::new(name).long(name).help(help);
    let yes = |name, help| flag(name, help).action(ArgAction::SetTrue);
    let path = |name, help| flag(name, help).value_parser(super::path()).value_name("FILE");
    let list = |name, help| flag(name, help).action(ArgAction::Append);
    command
        .arg(super::id())
        .arg(
            Arg::new("command")
                .value_name("COMMAND")
                .trailing_var_arg(true)
                .allow_hyphen_values(true)
                .num_args(0..)
                .help("The program and its arguments"),
        )
        .arg(path("process", "The process as JSON, instead of all other flags").short('p'))
        .arg(flag("cwd", "Working directory").value_name("DIR"))
        .arg(list("env", "Add an environment variable").short('e').value_name("NAME=VALUE"))
        .arg(flag("user", "User, by the container's passwd and group").short('u').value_name("USER[:GROUP]"))
        .arg(
            list("additional-gids", "Add a supplementary group")
                .short('g')
                .value_parser(value_parser!(u32))
                .value_name("GID"),
        )
        .arg(yes("tty", "Give it a terminal").short('t'))
        .arg(path("console-socket", "Unix socket to send the terminal's master to"))
        .arg(yes("detach", "Do not wait for it to end").short('d').alias("detatch"))
        .arg(path("pid-file", "File to write its process id to"))
        .arg(path("pidfd-socket", "Unix socket to send a pidfd of the process to"))
        .arg(flag("process-label", "SELinux label").value_name("LABEL"))
        .arg(flag("apparmor", "AppArmor profile").alias("apparmour").value_name("PROFILE"))
        .arg(yes("no-new-privs", "Set no_new_privs"))
        .arg(list("cap", "Add a capability").short('c').value_name("CAP"))
        .arg(
            flag("preserve-fds", "Pass N descriptors, from 3 on")
                .value_parser(value_parser!(u32))
                .default_value("0")
                .value_name("N"),
        )
        .arg(list("cgroup", "Put it into a cgroup below the container's").value_name("PATH"))
        .arg(yes("ignore-paused", "Allow it in a paused container, where it waits"))
        .arg(yes("no-subreaper", "Do not adopt its orphans"))
}

pub fn run(context: Context, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let id = super::id_of(matches);
    let doing = || format!("exec {id}");
    let outcome = request(matches).and_then(|request| {
        let container = context.store()?.ours(id)?;
        exec::exec(&container, request)
    });
    match outcome.with_context(doing) {
        Ok(code) => Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))),
        // What could not be executed must not be taken for a program's own failure.
        Err(error) => Ok(super::fail(&error, u8::MAX)),
    }
}

fn request(matches: &ArgMatches) -> anyhow::Result<Request> {
    // As with paths, an empty one is as good as none.
    let text = |name| matches.get_one::<String>(name).filter(|text| !text.is_empty()).cloned();
    let path = |name| super::path_of(matches, name);
    let texts = |name| matches.get_many::<String>(name).into_iter().flatten().cloned().collect::<Vec<_>>();
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
        additional_gids: matches.get_many("additional-gids").into_iter().flatten().copied().collect(),
        terminal: matches.get_flag("tty"),
        no_new_privileges: matches.get_flag("no-new-privs"),
        capabilities: texts("cap"),
        apparmor: text("apparmor"),
        label: text("process-label"),
    };
    Ok(Request {
        process,
        changes,
        user: text("user"),
        console_socket: path("console-socket"),
        pid_file: path("pid-file"),
        pidfd_socket: path("pidfd-socket"),
        detach: matches.get_flag("detach"),
        tty: matches.get_flag("tty"),
        preserve_fds: matches.get_one("preserve-fds").copied().unwrap_or(0),
        no_subreaper: matches.get_flag("no-subreaper"),
        cgroups: texts("cgroup"),
        ignore_paused: matches.get_flag("ignore-paused"),
    })
}
