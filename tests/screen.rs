//! What a person sees at a terminal, and what the shell there makes of kase: the screen of a real pseudoterminal.

use crate::common::{Bundle, Kase, Terminal, is_ours, json, wait_until, words};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::process::Child;

deeds! {
    lines_of_run_begin_at_the_left_edge,
    lines_of_exec_begin_at_the_left_edge,
    line_feeds_are_plain_where_the_container_wants_them_so,
    an_engine_gets_the_terminal_as_the_kernel_makes_it,
    an_editor_draws_its_screen_and_follows_the_size,
    jobs_inside_are_stopped_and_continued,
    a_stopped_kase_gives_the_terminal_back_and_takes_it_again,
    a_killed_kase_leaves_the_terminal_as_it_was,
    in_the_background_it_runs_on_until_it_has_the_terminal,
    a_terminal_that_hangs_up_is_the_containers_affair,
}

/// A container with a terminal in which busybox is.
fn busybox<const N: usize>(kase: &Kase, args: [&str; N]) -> Option<Bundle> {
    let busybox = fs::read("/usr/bin/busybox").or_else(|_| fs::read("/bin/busybox")).ok()?;
    let bundle = kase.bundle().program("busybox", &busybox).args(args);
    Some(bundle.edit(|spec| {
        spec["process"]["terminal"] = json!(true);
        let environment = spec["process"]["env"].as_array_mut().unwrap();
        environment.extend([json!("TERM=xterm"), json!("PS1=in>")]);
    }))
}

macro_rules! busybox {
    ($kase:expr, $args:expr) => {
        match busybox($kase, $args) {
            Some(bundle) => bundle,
            None => skip!("needs a static busybox"),
        }
    };
}

fn run(kase: &Kase, terminal: &mut Terminal, bundle: &Bundle) -> Child {
    terminal.spawn(kase, &["run", "-b", bundle.dir().to_str().unwrap(), &kase.id()])
}

fn ends(mut child: Child) {
    wait_until("the end", || child.try_wait().unwrap().is_some());
}

/// The process that called for what has this pid file.
fn parent(kase: &Kase, pid_file: &str) -> Pid {
    let read = || fs::read_to_string(kase.path(pid_file)).ok().filter(|pid| !pid.is_empty());
    wait_until("a pid file", || read().is_some());
    let stat = fs::read_to_string(format!("/proc/{}/stat", read().unwrap())).unwrap();
    let fields = stat.rsplit_once(')').unwrap().1;
    Pid::from_raw(fields.split_whitespace().nth(1).unwrap().parse().unwrap())
}

/// An interactive shell of the caller's, and the line that runs the bundle from there.
fn shell(kase: &Kase, terminal: &mut Terminal, bundle: &Bundle, id: &str) -> (Child, String) {
    let mut shell = kase.program("sh");
    let child = terminal.lead(kase, shell.arg("-i"));
    terminal.shows(if kase.is_root() { "\n#" } else { "\n$" });
    terminal.types("PS1=out'> '\n");
    terminal.shows("\nout>");
    let command = kase.command(words(["run", "--pid-file", "pid", "-b"], bundle.dir(), [id]));
    let program = command.get_program().to_str().unwrap().to_owned();
    let line = command.get_args().fold(program, |line, word| format!("{line} {}", word.to_str().unwrap()));
    (child, line)
}

fn lines_of_run_begin_at_the_left_edge(kase: &Kase) {
    let bundle = busybox!(kase, ["/probe", "args", "one", "two"]);
    let mut terminal = Terminal::new(80, 24);
    let child = run(kase, &mut terminal, &bundle);
    terminal.shows("\none\ntwo\n");
    ends(child);
}

fn lines_of_exec_begin_at_the_left_edge(kase: &Kase) {
    let container = kase.run_detached(&kase.bundle().args(["/probe", "sleep"]));
    let mut terminal = Terminal::new(80, 24);
    let child = terminal.spawn(kase, &["exec", "-t", &container.id, "/probe", "args", "one", "two"]);
    terminal.shows("\none\ntwo\n");
    ends(child);
}

/// An editor that goes down a line by a line feed stays in its column.
fn line_feeds_are_plain_where_the_container_wants_them_so(kase: &Kase) {
    if !is_ours() {
        skip!("runc's terminals have a carriage return for each");
    }
    let bundle =
        busybox!(kase, ["/busybox", "sh", "-c", "/busybox stty -opost; /busybox printf 'one\\ntwo\\r\\n'"]);
    let mut terminal = Terminal::new(80, 24);
    let child = run(kase, &mut terminal, &bundle);
    terminal.shows("\none\n   two\n");
    ends(child);
}

fn an_engine_gets_the_terminal_as_the_kernel_makes_it(kase: &Kase) {
    let bundle = busybox!(kase, ["/probe", "args", "one", "two"]);
    let id = kase.id();
    let mut terminal = crate::terminal::console(kase, &bundle, &id);
    terminal.shows("\none\ntwo\n");
    assert_eq!(terminal.bytes(), "one\r\ntwo\r\n");
    kase.call(["delete", "--force", &id]).succeeded();
}

fn an_editor_draws_its_screen_and_follows_the_size(kase: &Kase) {
    let bundle = busybox!(kase, ["/busybox", "sh", "-c", "/busybox vi /tmp/text; /busybox cat /tmp/text"]);
    let bundle = bundle.mount(json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}));
    let mut terminal = Terminal::new(60, 10);
    let child = run(kase, &mut terminal, &bundle);
    terminal.shows("\n~\n~\n~\n~\n~\n~\n~\n");
    terminal.types("ifirst\nsecond\x1b");
    terminal.shows("\nfirst\nsecond\n~\n~\n~\n~\n~\n~\n~\n-");
    terminal.resize(40, 16);
    terminal.shows("second\n~\n~\n~\n~\n~\n~\n~\n~\n~\n~\n~\n~\n~\n");
    terminal.types("ggxx:wq\n");
    terminal.shows("\nrst\nsecond");
    ends(child);
}

fn jobs_inside_are_stopped_and_continued(kase: &Kase) {
    let bundle = busybox!(kase, ["/busybox", "sh"]);
    let mut terminal = Terminal::new(80, 24);
    let child = run(kase, &mut terminal, &bundle);
    terminal.shows("in>");
    terminal.types("echo $((1 + 0))st; /busybox cat\n");
    terminal.shows("\n1st\n");
    terminal.types("typed\n");
    terminal.shows("\ntyped\ntyped\n");
    terminal.types("\x1a");
    terminal.shows("Stopped");
    terminal.prompts("in>");
    terminal.types("echo $((1 + 1))nd; fg\n");
    terminal.shows("\n2nd\n/busybox cat\n");
    terminal.types("more\n");
    terminal.shows("\nmore\nmore\n");
    terminal.types("\x04");
    terminal.types("exit\n");
    ends(child);
}

fn a_stopped_kase_gives_the_terminal_back_and_takes_it_again(kase: &Kase) {
    let bundle = busybox!(kase, ["/busybox", "sh"]);
    let mut terminal = Terminal::new(80, 24);
    let (child, line) = shell(kase, &mut terminal, &bundle, &kase.id());
    let before = terminal.modes();
    terminal.types(&format!("{line}\n"));
    terminal.shows("\nin>");
    assert_ne!(terminal.modes(), before);
    kill(parent(kase, "pid"), Signal::SIGTSTP).unwrap();
    terminal.shows("Stopped");
    terminal.prompts("out>");
    assert_eq!(terminal.modes(), before);
    terminal.types("echo $((1 + 1))nd\n");
    terminal.shows("\n2nd\nout>");
    terminal.types("fg\n");
    wait_until("the terminal to be the container's again", || terminal.modes() != before);
    terminal.types("echo $((1 + 2))rd\n");
    terminal.shows("\n3rd\nin>");
    terminal.types("exit\n");
    terminal.shows("exit\nout>");
    assert_eq!(terminal.modes(), before);
    terminal.types("exit\n");
    ends(child);
}

fn a_killed_kase_leaves_the_terminal_as_it_was(kase: &Kase) {
    let bundle = busybox!(kase, ["/busybox", "sh"]);
    let mut terminal = Terminal::new(80, 24);
    let id = kase.id();
    let (child, line) = shell(kase, &mut terminal, &bundle, &id);
    let before = terminal.modes();
    terminal.types(&format!("{line}\n"));
    terminal.shows("\nin>");
    kill(parent(kase, "pid"), Signal::SIGKILL).unwrap();
    terminal.shows("Killed");
    wait_until("the terminal to be as before", || terminal.modes() == before);
    kase.call(["delete", "--force", &id]).succeeded();
    // The same of a process that was added.
    let container = kase.run_detached(&kase.bundle().args(["/probe", "sleep"]));
    let command = kase.command(["exec", "-t", "--pid-file", "added", &container.id, "/probe", "sleep"]);
    let program = command.get_program().to_str().unwrap().to_owned();
    let line = command.get_args().fold(program, |line, word| format!("{line} {}", word.to_str().unwrap()));
    terminal.types(&format!("clear\n{line}\n"));
    let added = parent(kase, "added");
    wait_until("raw modes", || terminal.modes() != before);
    kill(added, Signal::SIGKILL).unwrap();
    terminal.shows("Killed");
    wait_until("the terminal to be as before", || terminal.modes() == before);
    terminal.types("exit\n");
    ends(child);
}

fn in_the_background_it_runs_on_until_it_has_the_terminal(kase: &Kase) {
    let bundle = busybox!(kase, ["/busybox", "sh", "-c", "echo $((1 + 0))st; /busybox cat"]);
    let mut terminal = Terminal::new(80, 24);
    let (child, line) = shell(kase, &mut terminal, &bundle, &kase.id());
    let before = terminal.modes();
    terminal.types(&format!("{line} &\n"));
    terminal.shows("1st\n");
    terminal.types("echo $((1 + 1))nd; jobs\n");
    terminal.shows("\n2nd\n");
    terminal.shows("Running");
    assert_eq!(terminal.modes(), before);
    terminal.types("fg\n");
    wait_until("the terminal to be the container's", || terminal.modes() != before);
    terminal.types("typed\n");
    terminal.shows("\ntyped\ntyped\n");
    terminal.types("\x04");
    terminal.shows("typed\nout>");
    assert_eq!(terminal.modes(), before);
    terminal.types("exit\n");
    ends(child);
}

/// The kernel tells the session's leader by SIGHUP and SIGCONT.
fn a_terminal_that_hangs_up_is_the_containers_affair(kase: &Kase) {
    let script = "trap 'exit 42' HUP; echo $((1 + 0))st; while :; do /busybox usleep 10000; done";
    let bundle = busybox!(kase, ["/busybox", "sh", "-c", script]);
    let mut terminal = Terminal::new(80, 24);
    let mut child = run(kase, &mut terminal, &bundle);
    terminal.shows("\n1st\n");
    drop(terminal);
    let mut end = None;
    wait_until("the end", || {
        end = child.try_wait().unwrap();
        end.is_some()
    });
    assert_eq!(end.and_then(|end| end.code()), Some(42));
}
