//! The payload of the tests' containers: prints what a process in there sees, in a stable form.
//!
//! `probe COMMAND [ARG…] [-- COMMAND [ARG…]]…` runs its commands in order. A failed deed is an answer
//! too, so it prints the name of the errno (`EROFS`) and goes on. Called as `true` it does nothing.

mod attack;
mod calls;
mod deeds;
mod kernel;
mod look;
mod process;
mod sees;

use std::path::Path;
use std::process::exit;

/// What a command prints, or why it could not.
type Answer = std::io::Result<String>;

fn main() {
    let mut args = std::env::args();
    let name = args.next().unwrap_or_default();
    if Path::new(&name).file_name().is_some_and(|name| name == "true") {
        return;
    }
    let args: Vec<String> = args.collect();
    for command in args.split(|arg| arg == "--") {
        match answer(command) {
            Ok(text) if text.is_empty() || text.ends_with('\n') => print!("{text}"),
            Ok(text) => println!("{text}"),
            Err(error) => println!("{}", deeds::errno_name(&error)),
        }
    }
}

fn answer(command: &[String]) -> Answer {
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["true"] => Ok(String::new()),
        ["affinity"] => sees::status_fields(&["Cpus_allowed_list"]),
        ["all"] => sees::all(),
        ["args", rest @ ..] => Ok(rest.join("\n")),
        ["caps"] => sees::caps(),
        ["cwd"] => sees::cwd(),
        ["domainname"] => sees::sysctl("kernel.domainname"),
        ["env"] => Ok(sees::env()),
        ["fds"] => sees::fds(),
        ["hostname"] => sees::sysctl("kernel.hostname"),
        ["id"] => sees::id(),
        ["links"] => kernel::links(),
        ["list", directory] => sees::list(directory),
        ["maps"] => sees::maps(),
        ["mempolicy"] => kernel::memory_policy(),
        ["mount", path] => sees::mount(path),
        ["mounts"] => sees::file("/proc/self/mountinfo"),
        ["namespaces"] => sees::namespaces(),
        ["oom"] => sees::file("/proc/self/oom_score_adj"),
        ["personality"] => kernel::personality(),
        ["processes"] => sees::processes(),
        ["read", path] => sees::file(path),
        ["readlink", path] => sees::link(path),
        ["rlimits"] => sees::rlimits(),
        ["sched"] => kernel::scheduler(),
        ["stat", path] => sees::stat(path),
        ["sysctl", name] => sees::sysctl(name),
        ["tty"] => Ok(sees::tty()),
        ["umask"] => sees::status_fields(&["Umask"]),
        ["status", names @ ..] => sees::status_fields(names),

        ["can", what, rest @ ..] => Ok(deeds::can(what, rest)),
        ["write", path, text] => Ok(deeds::outcome(std::fs::write(path, text))),
        ["remove", path] => Ok(deeds::outcome(deeds::remove(path))),
        ["mkdir", path] => Ok(deeds::outcome(std::fs::create_dir_all(path))),

        ["syscall", name, rest @ ..] => Ok(calls::call(name, rest)),
        ["thread", "syscall", name, rest @ ..] => Ok(calls::in_a_thread(name, rest)),

        ["allocate", mebibytes] => process::allocate(mebibytes).map(|_| "ok".into()),
        ["burn"] => process::burn(None),
        ["burn", milliseconds] => process::burn(milliseconds.parse().ok()),
        ["bursts", milliseconds] => process::bursts(milliseconds),
        ["cat"] => process::cat(),
        ["count"] => process::count(),
        ["fill", path, mebibytes] => process::fill(path, mebibytes),
        ["forks", number] => process::forks(number),
        ["hold", mebibytes] => process::hold(mebibytes),
        ["huge-pages", number] => process::huge_pages(number),
        ["read-directly", path] => process::read_directly(path),
        ["read-directly", path, "forever"] => process::read_forever(path),
        ["write-directly", path, mebibytes] => process::write_directly(path, mebibytes),
        ["exchange", one, other] => process::exchange(one, other),
        ["exec", program, rest @ ..] => process::exec(program, rest),
        ["overwrite", name] => attack::overwrite(name),
        ["release-agent", controller, point] => attack::release_agent(controller, point),
        ["try-cgroups", top] => attack::cgroups(top),
        ["look-into", secret] => look::look_into(secret),
        ["notify", text] => process::notify(text),
        ["exit", code] => exit(code.parse().unwrap_or(125)),
        ["err", text] => {
            eprintln!("{text}");
            Ok(String::new())
        }
        ["orphan"] => process::orphan(),
        ["adopt"] => process::spawn_sleeper().map(|_| String::new()),
        ["abort"] => std::process::abort(),
        ["signal"] => process::signal(),
        ["sleep"] => process::sleep(None),
        ["sleep", milliseconds] => process::sleep(milliseconds.parse().ok()),
        ["size", size] => process::await_size(size),
        ["wait", path] => process::wait(path),
        _ => {
            eprintln!("probe: no such command: {}", words.join(" "));
            exit(125)
        }
    }
}
