//! The table of every command, its options and its operands: parsing, the help, the manual and the completions all
//! read it, and nothing else knows an option.

use crate::integrate::Engine;
use crate::plan::overlay::MEMORY;
use Takes::{As, List, Nothing, OneOf, Optional, Path, Text};

/// A command.
pub struct Command {
    /// By which it is called.
    pub name: &'static str,
    /// Its line in the list of all.
    pub about: &'static str,
    /// What it takes beside options, in this order.
    pub operands: &'static [Arg],
    /// Its options.
    pub options: &'static [&'static [Arg]],
    /// Options that are taken, and shown nowhere.
    pub hidden: &'static [Arg],
    /// What its help says in the end.
    pub note: &'static str,
}

/// An option, or an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arg {
    /// `-x`.
    pub short: Option<char>,
    /// `--name`.
    pub name: &'static str,
    /// Its value.
    pub takes: Takes,
    /// The value where none is given; an operand that has one may be left out.
    pub default: &'static str,
    /// Its line in the help.
    pub help: &'static str,
}

/// What follows an option, each with the word for it in the help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// No value.
    Nothing,
    /// UTF-8.
    Text(&'static str),
    /// UTF-8, and the option may be given more than once; as an operand, all words that are left.
    List(&'static str),
    /// Any bytes.
    Path(&'static str),
    /// Any bytes, behind `=`, or this where there is no `=`.
    Optional(&'static str, &'static str),
    /// One of these words; their case does not matter.
    OneOf(&'static str, &'static [&'static str]),
    /// What the option of this name takes: it is another spelling of that, for old callers and those of runc.
    As(&'static str),
}

const fn option(name: &'static str, takes: Takes, help: &'static str) -> Arg {
    Arg { short: None, name, takes, default: "", help }
}

const fn flag(name: &'static str, help: &'static str) -> Arg {
    option(name, Nothing, help)
}

const fn format(words: &'static [&'static str]) -> Arg {
    option("format", OneOf("FORMAT", words), "How to show it").or(words[0])
}

impl Takes {
    /// The word for it in the help.
    pub fn word(self) -> &'static str {
        match self {
            Nothing | As(_) => "",
            Text(word) | List(word) | Path(word) | Optional(word, _) | OneOf(word, _) => word,
        }
    }
}

impl Arg {
    const fn short(self, short: char) -> Self {
        Self { short: Some(short), ..self }
    }

    const fn or(self, default: &'static str) -> Self {
        Self { default, ..self }
    }
}

/// What every command has.
pub const HELP: Arg = flag("help", "Print help").short('h');

/// What comes before the command.
#[rustfmt::skip]
const GLOBAL: &[Arg] = &[
    flag("version", "Print the version").short('v'),
    flag("debug", "Log everything, like --log-level debug"),
    option("log", Path("FILE"), "Write the log to a file instead of standard error; journald:IDENT and \
        syslog:IDENT send it there, file: begins a name that looks like one of these"),
    option("log-format", OneOf("FORMAT", &["text", "json"]), "Format of the log file").or("text"),
    option("log-level", OneOf("LEVEL", &["trace", "debug", "info", "warn", "warning", "error"]),
        "Least important level to log; on a standard error that is no terminal, info only when it is asked for").or("info"),
    option("root", Path("DIR"),
        "Directory of the containers' state [default: /run/kase for root, $XDG_RUNTIME_DIR/kase for others]"),
    option("rootless", OneOf("WHEN", &["auto", "true", "false"]),
        "Adapt config.json to what an ordinary user can have").or("auto"),
    option("cgroup-manager", OneOf("MANAGER", &["systemd", "cgroupfs", "disabled"]),
        "Who makes the containers' cgroups"),
    option("systemd-properties", OneOf("WHICH", &["scope", "any"]),
        "Which org.systemd.property annotations are taken: those about the container's scope alone (resources, how \
        it ends), or any").or("scope"),
    option("trace", Path("FILE"),
        "Write how long each step of create, run or exec takes, for chrome://tracing or Perfetto"),
    flag("systemd-cgroup", "Let systemd make the containers' cgroups"),
];

const ID: Arg = option("id", Text("ID"), "The container's id");
const BUNDLE: Arg = option("bundle", Path("DIR"), "The bundle's directory").short('b').or(".");
const CONFIG: Arg =
    option("config", Path("FILE"), "The configuration, if not config.json; relative to the bundle")
        .short('f');

/// What create, run and explain take.
#[rustfmt::skip]
const CREATE: &[Arg] = &[
    BUNDLE,
    CONFIG,
    flag("no-pivot", "Do not use pivot_root: for a host that runs from an initramfs"),
    flag("fake-root", "With one id only: let calls that change owners or users succeed without \
        effect, for package managers; no security"),
    option("overlay", Optional("DIR", MEMORY), "Lay an overlay over the rootfs, so that it stays as it is: \
        what changes goes to DIR, or to memory (tmpfs, or no DIR)"),
    flag("strict", "Refuse a config.json in which kase lint finds an error"),
];

/// What they take too, and nothing depends on that explain shows.
#[rustfmt::skip]
const HANDED_OVER: &[Arg] = &[
    option("console-socket", Path("SOCKET"), "Unix socket to send the terminal's master to"),
    option("pid-file", Path("FILE"), "File to write init's process id to"),
    flag("no-new-keyring", "Keep the caller's session keyring"),
    flag("no-subreaper", "Do not adopt the container's orphans, which only run and exec do"),
    option("pidfd-socket", Path("SOCKET"), "Unix socket to send a pidfd of init to"),
    option("preserve-fds", Text("N"), "Pass N descriptors, from 3 on, to the container").or("0"),
];

#[rustfmt::skip]
const EXEC: &[Arg] = &[
    option("process", Path("FILE"), "The process as JSON, instead of all other flags").short('p'),
    option("cwd", Text("DIR"), "Working directory"),
    option("env", List("NAME=VALUE"), "Add an environment variable").short('e'),
    option("user", Text("USER[:GROUP]"), "User, by the container's passwd and group").short('u'),
    option("additional-gids", List("GID"), "Add a supplementary group").short('g'),
    flag("tty", "Give it a terminal").short('t'),
    option("console-socket", Path("FILE"), "Unix socket to send the terminal's master to"),
    flag("detach", "Do not wait for it to end").short('d'),
    option("pid-file", Path("FILE"), "File to write its process id to"),
    option("pidfd-socket", Path("FILE"), "Unix socket to send a pidfd of the process to"),
    option("process-label", Text("LABEL"), "SELinux label"),
    option("apparmor", Text("PROFILE"), "AppArmor profile"),
    flag("no-new-privs", "Set no_new_privs"),
    option("cap", List("CAP"), "Add a capability").short('c'),
    option("preserve-fds", Text("N"), "Pass N descriptors, from 3 on").or("0"),
    option("cgroup", List("PATH"), "Put it into a cgroup below the container's"),
    flag("ignore-paused", "Allow it in a paused container, where it waits"),
    flag("no-subreaper", "Do not adopt its orphans"),
];

#[rustfmt::skip]
const UPDATE: &[Arg] = &[
    option("resources", Path("FILE"),
        "linux.resources as JSON, from a file or (-) from standard input, instead of the single limits").short('r'),
    option("l3-cache-schema", Text("SCHEMA"), "Share of the last-level cache, as in L3:0=7f0;1=1f (resctrl)"),
    option("mem-bw-schema", Text("SCHEMA"), "Share of memory bandwidth, as in MB:0=20;1=70 (resctrl)"),
    option("blkio-weight", Text("N"), "Relative share of block I/O, from 10 to 1000"),
    option("cpu-period", Text("N"), "Period that the quota is for, in microseconds"),
    option("cpu-quota", Text("N"), "Run time in a period, in microseconds"),
    option("cpu-burst", Text("N"), "Run time that may be saved up, in microseconds"),
    option("cpu-share", Text("N"), "Relative share of the processors"),
    option("cpu-rt-period", Text("N"), "Period of real-time run time, in microseconds"),
    option("cpu-rt-runtime", Text("N"), "Real-time run time, in microseconds"),
    option("cpu-idle", Text("N"), "1 to run only when nothing else does"),
    option("cpuset-cpus", Text("LIST"), "Processors that may be used"),
    option("cpuset-mems", Text("LIST"), "Memory nodes that may be used"),
    option("memory", Text("BYTES"), "Memory limit"),
    option("memory-reservation", Text("BYTES"), "Memory that is kept when it is short"),
    option("memory-swap", Text("BYTES"), "Memory and swap together; -1 for no limit on swap"),
    option("kernel-memory-tcp", Text("BYTES"), "Memory of TCP buffers (cgroup v1)"),
    option("pids-limit", Text("N"), "Number of processes; -1 for no limit"),
];

#[rustfmt::skip]
const INTEGRATE: &[Arg] = &[
    flag("remove", "Take exactly what was added out again"),
    flag("no-default", "Add kase without making it the default runtime"),
    option("config-dir", Path("DIR"), "Directory of the engine's configuration, if it is not the usual one"),
    option("binary", Path("FILE"), "Register this kase instead of the one that is called"),
    option("pid-file", Path("FILE"), "Where dockerd has its process id, if it is not the usual file"),
];

#[rustfmt::skip]
const REGEX: Arg =
    flag("regex", "Take ID for a regular expression, and act on every container whose id it matches").short('r');

const fn command(name: &'static str, about: &'static str, operands: &'static [Arg]) -> Command {
    Command { name, about, operands, options: &[], hidden: &[], note: "" }
}

/// What stands before the command.
pub static KASE: Command = command("kase", "A rootless-first OCI container runtime", &[]).with(&[GLOBAL]);

#[rustfmt::skip]
pub static COMMANDS: [Command; 21] = [
    command("create", "Create a container", &[ID]).with(&[CREATE, HANDED_OVER]),
    command("delete", "Delete a container", &[ID]).with(&[&[
        flag("force", "Kill what runs; a container that does not exist is no error").short('f'), REGEX,
    ]]),
    command("doctor", "Check whether containers run on this host", &[]).with(&[&[
        option("bundle", Path("DIR"),
            "Tell also whether the container of this bundle runs here, and how it would be adapted").short('b'),
        CONFIG, format(&["text", "json"]),
    ]]),
    command("events", "Show what a container uses", &[ID]).with(&[&[
        option("interval", Text("TIME"), "Time between statistics").or("5s"),
        flag("stats", "Show the statistics once, and no events"),
    ]]),
    command("exec", "Run a program in a running container", &[
        ID, option("command", List("COMMAND"), "The program and its arguments"),
    ]).with(&[EXEC]).hiding(&[option("apparmour", As("apparmor"), "")]),
    // Paths of cgroups have the id in them.
    command("explain", "Show what would become of a bundle here", &[ID.or("ID")])
        .with(&[CREATE, &[format(&["table", "json"])]]).hiding(HANDED_OVER)
        .noting("Shows what create would do with the bundle on this host, for this user; nothing is made."),
    command("features", "Show what kase supports", &[]),
    command("gc", "Remove what a crash or a reboot left", &[])
        .with(&[&[format(&["table", "json"]).short('f'), flag("dry-run", "Show it only")]])
        .noting("Removes entries whose creation was interrupted, when nobody is at it any more, and those of before \
            the host was booted; never a container that was created and has stopped."),
    command("integrate", "Register kase with an engine, or take that out again", &[
        option("engine", OneOf("ENGINE", &Engine::NAMES), "The engine"),
    ]).with(&[INTEGRATE]).noting("A file of yours keeps its form and its comments, and lies beside as it was, with \
        .before-kase behind its name. A dockerd that runs reads it anew."),
    command("kill", "Send a signal to a container", &[
        ID, option("signal", Text("SIGNAL"), "Name or number").or("TERM"),
    ]).with(&[&[flag("all", "Send it to every process of the container").short('a'), REGEX]]),
    command("lint", "Tell what is wrong or weak in a config.json", &[])
        .with(&[&[BUNDLE, CONFIG, format(&["text", "json"])]]),
    command("list", "List containers", &[])
        .with(&[&[format(&["table", "json"]).short('f'), flag("quiet", "Show the ids only").short('q')]]),
    command("pause", "Freeze a container", &[ID]),
    command("ps", "Show the processes of a container", &[
        ID, option("options", List("PS-OPTIONS"),
            "Show what the host's ps shows with these, such as -o pid,args; without any, kase's own table"),
    ]).with(&[&[format(&["table", "json"]).short('f')]]),
    command("resume", "Thaw a paused container", &[ID]),
    command("run", "Create and start a container", &[ID]).with(&[CREATE, HANDED_OVER, &[
        flag("detach", "Do not wait for the container to end").short('d'),
        flag("keep", "Leave the stopped container for inspection, until kase delete"),
    ]]).hiding(&[option("detatch", As("detach"), "")]),
    command("spec", "Write a config.json", &[]).with(&[&[
        BUNDLE, flag("rootless", "For an ordinary user: with a user namespace that maps you to root"),
    ]]),
    command("start", "Start a created container", &[ID]),
    command("state", "Show the state of a container", &[ID]),
    // The kernel takes no limit of its own memory any more.
    command("update", "Change the limits of a container", &[ID]).with(&[UPDATE])
        .hiding(&[option("kernel-memory", Text("BYTES"), "")]),
    command("wait", "Wait for a container's end", &[ID])
        .noting("Prints the container's exit code and exits with it: 128 + N where signal N ended it. Without one, \
            nothing is printed: 254 if the container has ended and nobody knows its code, since nobody waited for it \
            then; 255 if there is no such container."),
];

impl Command {
    const fn with(self, options: &'static [&'static [Arg]]) -> Self {
        Self { options, ..self }
    }

    const fn hiding(self, hidden: &'static [Arg]) -> Self {
        Self { hidden, ..self }
    }

    const fn noting(self, note: &'static str) -> Self {
        Self { note, ..self }
    }

    /// Its options, as the help shows them.
    pub fn shown_options(&self) -> impl Iterator<Item = &'static Arg> {
        self.options.iter().copied().flatten().chain([&HELP])
    }

    /// Those that are hidden too.
    pub fn all_options(&self) -> impl Iterator<Item = &'static Arg> {
        self.shown_options().chain(self.hidden)
    }
}
