//! Terminals: kase's own passed on by `run`, and one handed over through a console socket.

use crate::common::{Bundle, Kase, Terminal, is_ours, json, wait_until, words};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::Child;

deeds! {
    run_gives_the_container_a_terminal_of_the_same_size,
    what_is_typed_reaches_the_container,
    an_interrupt_key_is_a_signal_inside,
    a_new_size_reaches_the_container,
    run_with_a_terminal_gives_the_exit_code,
    what_watches_over_the_terminal_is_there_before_the_container,
    the_terminal_is_as_before_afterwards,
    an_output_that_nobody_reads_keeps_no_signal_back,
    what_the_container_shows_goes_to_standard_output,
    what_the_container_reads_comes_from_standard_input,
    the_controlling_terminal_will_do,
    a_console_socket_gets_the_terminal,
    the_console_has_the_size_of_the_config,
    a_console_size_that_no_terminal_has_is_refused,
    a_console_socket_that_takes_nobody_in_is_given_up,
    create_with_a_terminal_needs_a_console_socket,
    one_terminal_too_many_is_said_to_be_that,
    a_console_socket_without_a_terminal_is_refused,
    a_console_socket_that_is_none_is_refused,
}
deeds! { root: the_console_has_the_group_of_its_devpts }

fn with_terminal<const N: usize>(kase: &Kase, args: [&str; N]) -> Bundle {
    kase.bundle().args(args).edit(|spec| spec["process"]["terminal"] = json!(true))
}

fn run(kase: &Kase, terminal: &mut Terminal, bundle: &Bundle) -> Child {
    terminal.spawn(kase, &["run", "-b", bundle.dir().to_str().unwrap(), &kase.id()])
}

fn ends_with(mut child: Child, code: i32) {
    let mut status = None;
    wait_until("kase to end", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(code));
}

fn run_gives_the_container_a_terminal_of_the_same_size(kase: &Kase) {
    let mut terminal = Terminal::new(97, 31);
    let child =
        run(kase, &mut terminal, &with_terminal(kase, ["/probe", "tty", "--", "stat", "/dev/console"]));
    let shown = terminal.shows("rdev=");
    for name in ["stdin", "stdout", "stderr"] {
        assert!(shown.contains(&format!("{name}: /dev/pts/0 97x31")), "{shown}");
    }
    assert!(shown.contains("char mode="), "{shown}");
    ends_with(child, 0);
}

fn what_is_typed_reaches_the_container(kase: &Kase) {
    let mut terminal = Terminal::new(80, 24);
    let child = run(kase, &mut terminal, &with_terminal(kase, ["/probe", "args", "ready", "--", "cat"]));
    terminal.shows("ready");
    terminal.types("hello\n");
    // An echo and an answer.
    terminal.shows("ready\nhello\nhello");
    // End of input.
    terminal.types("\x04");
    ends_with(child, 0);
}

fn an_interrupt_key_is_a_signal_inside(kase: &Kase) {
    let mut terminal = Terminal::new(80, 24);
    let child = run(kase, &mut terminal, &with_terminal(kase, ["/probe", "signal", "--", "exit", "5"]));
    terminal.shows("waiting");
    terminal.types("\x03");
    terminal.shows("SIGINT");
    ends_with(child, 5);
}

fn a_new_size_reaches_the_container(kase: &Kase) {
    let mut terminal = Terminal::new(80, 24);
    let child = run(kase, &mut terminal, &with_terminal(kase, ["/probe", "size", "120x50"]));
    terminal.shows("waiting");
    terminal.resize(120, 50);
    terminal.shows("120x50");
    ends_with(child, 0);
}

fn run_with_a_terminal_gives_the_exit_code(kase: &Kase) {
    let mut terminal = Terminal::new(80, 24);
    ends_with(run(kase, &mut terminal, &with_terminal(kase, ["/probe", "exit", "42"])), 42);
}

fn what_watches_over_the_terminal_is_there_before_the_container(kase: &Kase) {
    if std::process::Command::new("strace").arg("--version").output().is_err() {
        skip!("needs strace");
    }
    let started = kase.path("started");
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("echo >{}", started.display())]}]);
    let bundle = with_terminal(kase, ["/probe", "true"]).edit(|spec| spec["hooks"]["poststart"] = hook);
    let mut failed = 0;
    for nth in 1..8 {
        let _ = std::fs::remove_file(&started);
        let run = kase.command(words(["run", "-b"], bundle.dir(), [kase.id().as_str()]));
        let mut strace = kase.program("strace");
        strace.args(["-o", "strace", "-e", &format!("inject=clone3:error=EAGAIN:when={nth}"), "--"]);
        strace.arg(run.get_program()).args(run.get_args());
        let mut terminal = Terminal::new(80, 24);
        let mut child = terminal.lead(kase, &strace);
        let mut status = None;
        wait_until("kase to end", || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        if !status.unwrap().success() {
            assert!(!started.exists(), "clone {nth} came after the start");
            failed += 1;
        }
    }
    assert!(failed > 0);
}

/// Runs the probe with redirections and gives what it wrote into the file `out`.
fn redirected<const N: usize>(kase: &Kase, args: [&str; N], redirections: &str) -> String {
    let mut terminal = Terminal::new(80, 24);
    let bundle = with_terminal(kase, args);
    let words = ["run", "-b", bundle.dir().to_str().unwrap(), &kase.id()];
    ends_with(terminal.spawn_redirected(kase, &words, redirections), 0);
    std::fs::read_to_string(kase.path("out")).unwrap()
}

fn what_the_container_shows_goes_to_standard_output(kase: &Kase) {
    kase.file("out", "");
    let long = "0123456789".repeat(5000);
    let shown = redirected(kase, ["/probe", "args", &long, "--", "tty"], "> out");
    assert!(shown.starts_with(&long), "{} of {} bytes", shown.len(), long.len());
    assert!(shown.contains("stdout: /dev/pts/0 80x24"), "{shown}");
}

fn what_the_container_reads_comes_from_standard_input(kase: &Kase) {
    kase.file("out", "");
    kase.file("in", "typed\n\u{4}");
    let shown = redirected(kase, ["/probe", "cat"], "< in > out");
    assert!(shown.contains("typed\ntyped"), "an echo and an answer: {shown}");
}

fn the_controlling_terminal_will_do(kase: &Kase) {
    kase.file("out", "");
    let shown = redirected(kase, ["/probe", "tty"], "< /dev/null > out 2>&1");
    assert!(shown.contains("stdin: /dev/pts/0 80x24"), "{shown}");
}

fn the_console_has_the_group_of_its_devpts(kase: &Kase) {
    kase.file("out", "");
    let shown = redirected(kase, ["/probe", "stat", "/dev/console", "--", "stat", "/dev/pts/0"], "> out");
    for line in shown.lines() {
        assert!(line.contains("mode=0620 owner=0:5 "), "{shown}");
    }
}

fn the_terminal_is_as_before_afterwards(kase: &Kase) {
    let mut terminal = Terminal::new(80, 24);
    let before = terminal.modes();
    let child = run(kase, &mut terminal, &with_terminal(kase, ["/probe", "signal"]));
    terminal.shows("waiting");
    wait_until("raw modes while the container has it", || terminal.modes() != before);
    terminal.types("\x03");
    ends_with(child, 0);
    assert_eq!(terminal.modes(), before);
}

/// It has no pid namespace of its own, so that any signal ends it.
fn an_output_that_nobody_reads_keeps_no_signal_back(kase: &Kase) {
    let fifo = kase.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    kase.identity.own(&fifo);
    // Both ends, so that nobody waits for the other.
    let mut reader = std::fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
    let long = "0123456789".repeat(10_000);
    let bundle = with_terminal(kase, ["/probe", "args", &long, &long]).without_namespace("pid");
    let words = ["run", "-b", bundle.dir().to_str().unwrap(), "--pid-file", "pid", &kase.id()];
    let mut terminal = Terminal::new(80, 24);
    let child = terminal.spawn_redirected(kase, &words, "> fifo");
    let pid = || std::fs::read_to_string(kase.path("pid")).ok();
    wait_until("the container's pid", || pid().is_some());
    let pid = pid().unwrap();
    let stat = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let parent = stat(&pid).split(' ').nth(3).unwrap().parse().unwrap();
    // By then the FIFO is full, and so is the terminal.
    std::thread::sleep(std::time::Duration::from_millis(300));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(parent), nix::sys::signal::Signal::SIGTERM).unwrap();
    wait_until("the container to end", || stat(&pid).is_empty() || stat(&pid).contains(") Z "));
    // What it had shown is still to be had.
    std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    ends_with(child, 143);
}

/// Creates and starts a container with a console socket, and gives its terminal.
pub fn console(kase: &Kase, bundle: &Bundle, id: &str) -> Terminal {
    let path = kase.path("console");
    let listener = UnixListener::bind(&path).unwrap();
    kase.identity.own(&path);
    let options = ["--console-socket", path.to_str().unwrap(), id];
    kase.call(words(["create", "-b"], bundle.dir(), options)).succeeded();
    let (socket, _) = listener.accept().unwrap();
    let outer = receive(&socket).expect("a descriptor in the message");
    kase.call(["start", id]).succeeded();
    Terminal::of(outer, None)
}

/// The descriptor that comes with a message.
pub fn receive(socket: &std::os::unix::net::UnixStream) -> Option<OwnedFd> {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 4096];
    recvmsg(socket, &mut [IoSliceMut::new(&mut name)], &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
    control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    })
}

fn a_console_socket_gets_the_terminal(kase: &Kase) {
    let id = kase.id();
    let mut terminal =
        console(kase, &with_terminal(kase, ["/probe", "args", "one", "two", "--", "cat"]), &id);
    terminal.types("typed\n");
    terminal.shows("two\n");
    kase.call(["delete", "--force", &id]).succeeded();
}

fn the_console_has_the_size_of_the_config(kase: &Kase) {
    let id = kase.id();
    let bundle = with_terminal(kase, ["/probe", "tty", "--", "sleep"]);
    let bundle = bundle.edit(|spec| spec["process"]["consoleSize"] = json!({"height": 25, "width": 91}));
    console(kase, &bundle, &id).shows("stdout: /dev/pts/0 91x25");
    kase.call(["delete", "--force", &id]).succeeded();
}

fn a_console_size_that_no_terminal_has_is_refused(kase: &Kase) {
    if !is_ours() {
        skip!("other runtimes cut the number off");
    }
    let _listener = UnixListener::bind(kase.path("console")).unwrap();
    kase.identity.own(&kase.path("console"));
    for (field, other) in [("height", "width"), ("width", "height")] {
        let bundle = with_terminal(kase, ["/probe", "tty"]);
        let bundle = bundle.edit(|spec| spec["process"]["consoleSize"] = json!({field: 65536, other: 24}));
        let id = kase.id();
        let words = words(["create", "--console-socket", "console", "-b"], bundle.dir(), [id.as_str()]);
        let outcome = kase.call(words);
        outcome.refused(&[&format!("process.consoleSize.{field}"), "65536"]);
        assert!(outcome.help().contains("from 0 to 65535"), "{outcome}");
    }
}

fn a_console_socket_that_takes_nobody_in_is_given_up(kase: &Kase) {
    let path = kase.path("console");
    let listener = UnixListener::bind(&path).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    kase.identity.own(&path);
    let _first = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let bundle = with_terminal(kase, ["/probe", "tty"]);
    let words = words(["create", "--console-socket", "console", "-b"], bundle.dir(), ["none"]);
    kase.call(words).refused(&["connect to the console socket", "(os error 110)"]);
}

fn create_with_a_terminal_needs_a_console_socket(kase: &Kase) {
    let bundle = with_terminal(kase, ["/probe", "tty"]);
    kase.call(words(["create", "-b"], bundle.dir(), [kase.id().as_str()])).refused(&["process.terminal"]);
    kase.call(words(["run", "-d", "-b"], bundle.dir(), [kase.id().as_str()])).refused(&["process.terminal"]);
}

/// The kernel speaks of a full disk then.
fn one_terminal_too_many_is_said_to_be_that(kase: &Kase) {
    let one = |spec: &mut serde_json::Value| {
        let mounts = spec["mounts"].as_array_mut().unwrap();
        let pts = mounts.iter_mut().find(|mount| mount["type"] == "devpts").unwrap();
        pts["options"].as_array_mut().unwrap().push(json!("max=1"));
    };
    let id = kase.id();
    let _first = console(kase, &with_terminal(kase, ["/probe", "sleep"]).edit(one), &id);
    let path = kase.path("second");
    let _listener = UnixListener::bind(&path).unwrap();
    kase.identity.own(&path);
    let socket = path.to_str().unwrap();
    let second = kase.call(["exec", "--tty", "--console-socket", socket, &id, "/probe", "args"]);
    assert_ne!(second.code, 0, "{second}");
    assert!(!is_ours() || second.help().contains("kernel.pty.max"), "{second}");
    kase.call(["delete", "--force", &id]).succeeded();
}

fn a_console_socket_without_a_terminal_is_refused(kase: &Kase) {
    let listener = UnixListener::bind(kase.path("console")).unwrap();
    kase.identity.own(&kase.path("console"));
    let (id, path) = (kase.id(), kase.path("console"));
    let options = ["--console-socket", path.to_str().unwrap(), &id];
    kase.call(words(["create", "-b"], kase.bundle().dir(), options)).refused(&["console"]);
    drop(listener);
}

fn a_console_socket_that_is_none_is_refused(kase: &Kase) {
    let bundle = with_terminal(kase, ["/probe", "tty"]);
    for path in [kase.file("plain", ""), kase.path("missing")] {
        let id = kase.id();
        let options = ["--console-socket", path.to_str().unwrap(), &id];
        kase.call(words(["create", "-b"], bundle.dir(), options)).refused(&[path.to_str().unwrap()]);
    }
}
