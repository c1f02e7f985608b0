//! The command line: what runc's is, one small file a command.
//!
//! Only the command that is asked for is built, once it is found by its name, and only the options that it is given;
//! building all of them takes longer than `state` itself. What that cannot parse is parsed again by the whole.

mod building;
mod create;
mod delete;
mod doctor;
#[cfg(test)]
mod documents;
mod events;
mod exec;
mod exit;
mod explain;
mod features;
mod gc;
mod integrate;
mod kill;
mod lint;
mod list;
mod paint;
mod pause;
mod ps;
mod resume;
mod run;
mod spec;
mod start;
mod state;
mod table;
mod update;
mod wait;

use self::building::Building;
pub use self::exit::ExitCode;
use crate::container::store::Store;
use crate::fault::{Fault, OrFault, Report};
use crate::log;
use crate::plan::adapt::Adapt;
use crate::plan::cgroup::annotated::Properties;
use crate::plan::cgroup::{Driver, Manager};
use crate::seal;
use crate::trace;
use clap::builder::{OsStringValueParser, PossibleValuesParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use rootless::caller::Caller;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use tracing::Level;

const ABOUT: &str = "A rootless-first OCI container runtime";

/// What every command knows.
pub struct Context {
    pub caller: Caller,
    /// `--root`.
    root: Option<PathBuf>,
    /// `--rootless`.
    pub adapt: Adapt,
    /// `--cgroup-manager`, `--systemd-cgroup`, `--systemd-properties`.
    pub cgroups: Manager,
}

impl Context {
    /// The state root.
    ///
    /// # Errors
    /// None that the caller may use.
    pub fn store(&self) -> anyhow::Result<Store> {
        Store::find(self.root.as_deref(), &self.caller)
    }
}

type Run = fn(Context, &ArgMatches) -> anyhow::Result<ExitCode>;

/// A command: its name, its line in the help, its arguments, and what it does.
struct Verb {
    name: &'static str,
    about: &'static str,
    arguments: fn(Building<'_>) -> Building<'_>,
    /// All of its arguments, for clap to build when it needs them.
    whole: fn(Command) -> Command,
    run: Run,
}

macro_rules! verbs {
    ($($name:ident $about:literal)*) => {
        [$(Verb {
            name: stringify!($name),
            about: $about,
            arguments: $name::arguments,
            whole: |command| $name::arguments(Building::whole(command)).done(),
            run: $name::run,
        }),*]
    };
}

static VERBS: [Verb; 21] = verbs! {
    create "Create a container"
    delete "Delete a container"
    doctor "Check whether containers run on this host"
    events "Show what a container uses"
    exec "Run a program in a running container"
    explain "Show what would become of a bundle here"
    features "Show what kase supports"
    gc "Remove what a crash or a reboot left"
    integrate "Register kase with an engine, or take that out again"
    kill "Send a signal to a container"
    lint "Tell what is wrong or weak in a config.json"
    list "List containers"
    pause "Freeze a container"
    ps "Show the processes of a container"
    resume "Thaw a paused container"
    run "Create and start a container"
    spec "Write a config.json"
    start "Start a created container"
    state "Show the state of a container"
    update "Change the limits of a container"
    wait "Wait for a container's end"
};

/// The options before the command that take a value.
const VALUED: [&str; 8] = [
    "--cgroup-manager",
    "--log",
    "--log-format",
    "--log-level",
    "--root",
    "--rootless",
    "--systemd-properties",
    "--trace",
];
/// Those that take none, each with a zero at its end.
pub const BARE: &str = "--debug\0--systemd-cgroup\0";

/// The command that is asked for, found without clap. Nothing where the command line is not that plain: it is wrong
/// then, or asks for help.
fn sought<'a>(mut words: impl Iterator<Item = &'a OsString>) -> Option<&'static Verb> {
    loop {
        let word = words.next()?.to_str()?;
        match word.split_once('=') {
            Some((option, _)) if VALUED.contains(&option) => {}
            None if BARE.split_terminator('\0').any(|option| option == word) => {}
            None if VALUED.contains(&word) => drop(words.next()?),
            _ => return VERBS.iter().find(|verb| verb.name == word),
        }
    }
}

/// The command line as a whole.
fn command(verbs: &[Verb]) -> Command {
    let command = Command::new("kase")
        .about(ABOUT)
        .version(version())
        .disable_help_subcommand(true)
        .disable_version_flag(true)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand_value_name("COMMAND")
        .subcommand_help_heading("Commands");
    let command = options(Building::whole(command)).done();
    verbs.iter().fold(command, |command, verb| {
        command.subcommand(Command::new(verb.name).about(verb.about).defer(verb.whole))
    })
}

/// As much of it as the words ask for, which parses them if nothing is wrong with them.
fn lean(verb: &Verb, words: &[OsString]) -> Command {
    let own = (verb.arguments)(Building::lean(Command::new(verb.name), words)).done();
    let command = Command::new("kase").disable_help_subcommand(true).disable_version_flag(true);
    options(Building::lean(command, words)).done().subcommand(own)
}

/// The options before the command.
fn options(command: Building<'_>) -> Building<'_> {
    let yes = |option: Arg| option.action(ArgAction::SetTrue);
    command
        .option("version", Some('v'), |option| option.action(ArgAction::Version).help("Print the version"))
        .option("debug", None, |option| yes(option).help("Log everything, like --log-level debug"))
        .option("log", None, |option| option.help("Write the log to a file instead of standard error; journald:IDENT and syslog:IDENT send it there, file: begins a name that looks like one of these").value_parser(value_parser!(OsString)).value_name("FILE"))
        .option("log-format", None, |option| option.help("Format of the log file").value_parser(PossibleValuesParser::new(["text", "json"])).default_value("text"))
        .option("log-level", None, |option| option.help("Least important level to log; on a standard error that is no terminal, info only when it is asked for").value_parser(PossibleValuesParser::new(["trace", "debug", "info", "warn", "warning", "error"]).map(|level| level.to_lowercase())).ignore_case(true).default_value("info"))
        .option("root", None, |option| option.help("Directory of the containers' state [default: /run/kase for root, $XDG_RUNTIME_DIR/kase for others]").value_parser(path()).value_name("DIR"))
        .option("rootless", None, |option| option.help("Adapt config.json to what an ordinary user can have").value_parser(PossibleValuesParser::new(["auto", "true", "false"])).default_value("auto"))
        .option("cgroup-manager", None, |option| option.help("Who makes the containers' cgroups").value_parser(PossibleValuesParser::new(["systemd", "cgroupfs", "disabled"])))
        .option("systemd-properties", None, |option| option.help("Which org.systemd.property annotations are taken: those about the container's scope alone (resources, how it ends), or any").value_parser(PossibleValuesParser::new(["scope", "any"])).default_value("scope"))
        .option("trace", None, |option| option.help("Write how long each step of create, run or exec takes, for chrome://tracing or Perfetto").value_parser(value_parser!(PathBuf)).value_name("FILE"))
        .option("systemd-cgroup", None, |option| yes(option).help("Let systemd make the containers' cgroups"))
}

/// As engines parse it.
fn version() -> &'static str {
    concat!("version ", env!("CARGO_PKG_VERSION"), "\ncommit: ", env!("KASE_COMMIT"), "\nspec: 1.3.0")
}

/// Parses the command line, does what it says, and tells the caller of what went wrong.
///
/// The first of the `arguments` is the program's name.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    answer(&arguments).unwrap_or_else(|error| fail(&error, 1))
}

fn answer(arguments: &[OsString]) -> anyhow::Result<ExitCode> {
    if let (Some(verb), Ok(caller)) = (sought(arguments.iter().skip(1)), Caller::look()) {
        // Before anything else, all of which the second start would do again.
        let sealed = seal::seal(verb.name, &caller, arguments);
        if let Ok(matches) = lean(verb, arguments).try_get_matches_from(arguments) {
            // Never taken apart: that takes longer than to look at it.
            return dispatch(Box::leak(Box::new(matches)), caller, sealed);
        }
    }
    // What is wrong with the command line is said of the whole of it.
    let matches = match command(&VERBS).try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return usage(&error, arguments),
    };
    let caller = Caller::look()?;
    let sealed = seal::seal(matches.subcommand_name().unwrap_or_default(), &caller, arguments);
    dispatch(&matches, caller, sealed)
}

/// Tells of an error.
fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    log::error(&Report::in_step(error, trace::last_step()));
    ExitCode::from(code)
}

/// Prints what a command shows, all of it at once.
///
/// # Errors
/// Standard output does not take it.
fn print(text: impl AsRef<[u8]>) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_ref()).and_then(|()| out.flush()).or_write_fault(|| {
        Fault::doing("write to standard output")
            .remedy("lead it to a file, a pipe or a terminal that takes it")
    })
}

/// `sealed` is known before the log is opened, which may be a FIFO; that it failed belongs into it all the same.
fn dispatch(matches: &ArgMatches, caller: Caller, sealed: anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    let text = |name| given::<String>(matches, name).map_or("", String::as_str);
    let (name, arguments) = matches.subcommand().expect("clap requires a command");
    // While no descriptor is open that is ours.
    let preserved = create::check_preserved(name, arguments);
    let format = if text("log-format") == "json" { log::Format::Json } else { log::Format::Text };
    let id = given::<String>(arguments, "id");
    let log = given::<OsString>(matches, "log").map(OsString::as_os_str).filter(|log| !log.is_empty());
    log::start(log.map(|log| log::Goal::of(log, id.map(String::as_str))), format, level(matches))?;
    sealed?;
    match preserved {
        // Its codes from 0 to 254 are the program's.
        Err(error) if name == "exec" => return Ok(fail(&error, u8::MAX)),
        preserved => preserved?,
    }
    let adapt = if text("rootless") == "false" { Adapt::No } else { Adapt::Yes };
    let driver = match text("cgroup-manager") {
        _ if flag(matches, "systemd-cgroup") => Driver::Systemd,
        "systemd" => Driver::Systemd,
        "cgroupfs" => Driver::Cgroupfs,
        "disabled" => Driver::Disabled,
        _ => Driver::Auto,
    };
    if let Some(file) = given::<PathBuf>(matches, "trace") {
        trace::begin(file).or_write_fault(|| {
            Fault::doing(format!("write the trace {}", file.display()))
                .remedy("give --trace a file in a directory that you may write to")
        })?;
    }
    let properties = match text("systemd-properties") {
        "any" => Properties::Any,
        _ => Properties::Scope,
    };
    let cgroups = Manager { driver, properties };
    let context = Context { cgroups, caller, root: path_of(matches, "root"), adapt };
    let verb =
        VERBS.iter().find(|verb| verb.name == name).expect("clap knows the commands of the table only");
    let done = (verb.run)(context, arguments);
    trace::finish();
    done
}

/// The least important level that is told.
///
/// What kase did unasked (a user namespace added, no cgroup to be had) is told to a person at a terminal, and to
/// whoever names a log or a level. A script, or an engine, that captures standard error gets there what the
/// container wrote, and besides only what went wrong, as with other runtimes.
fn level(matches: &ArgMatches) -> Level {
    match given::<String>(matches, "log-level").map_or("", String::as_str) {
        "trace" => Level::TRACE,
        _ if flag(matches, "debug") => Level::DEBUG,
        "debug" => Level::DEBUG,
        "warn" | "warning" => Level::WARN,
        "error" => Level::ERROR,
        _ => {
            let named = given::<String>(matches, "log-level").is_some()
                && matches.value_source("log-level") == Some(ValueSource::CommandLine);
            let asked = named || given::<OsString>(matches, "log").is_some();
            if asked || io::stderr().is_terminal() { Level::INFO } else { Level::WARN }
        }
    }
}

/// clap's complaint in our own form: one line and a remedy. What was asked for is printed.
fn usage(error: &clap::Error, arguments: &[OsString]) -> anyhow::Result<ExitCode> {
    use ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    if matches!(error.kind(), DisplayHelp | DisplayVersion | DisplayHelpOnMissingArgumentOrSubcommand) {
        return print(error.render().to_string()).map(|()| ExitCode::SUCCESS);
    }
    if error.kind() == ErrorKind::MissingSubcommand {
        // As runc: whoever asks for nothing is shown what there is.
        print(command(&VERBS).render_help().to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    // `help [COMMAND]` is `[COMMAND] --help`; as a command of clap's it would have all of them built each time.
    if error.get(ContextKind::InvalidSubcommand) == Some(&ContextValue::String("help".into())) {
        let words = arguments.iter().filter(|word| *word != "help").cloned().chain(["--help".into()]);
        if let Err(help) = command(&VERBS).try_get_matches_from(words) {
            return usage(&help, &[]);
        }
    }
    let rendered = error.to_string();
    let what = rendered.lines().next().unwrap_or_default().trim_start_matches("error: ");
    let what = match error.kind() {
        ErrorKind::MissingRequiredArgument => match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::Strings(missing)) => format!("{} is missing", missing.join(" and ")),
            _ => what.to_string(),
        },
        _ => what.to_string(),
    };
    let suggestion =
        [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue]
            .into_iter()
            .find_map(|kind| match error.get(kind) {
                Some(ContextValue::String(suggestion)) => Some(suggestion.clone()),
                Some(ContextValue::Strings(suggestions)) => suggestions.first().cloned(),
                _ => None,
            });
    let remedy = match suggestion {
        Some(suggestion) => format!("did you mean {suggestion}? See kase --help"),
        None => "see kase --help and kase COMMAND --help".to_string(),
    };
    let report = Report::of(&Fault::doing(what).remedy(remedy).into());
    // The log is not started: its options may be what is wrong. Engines that give --log still read of it here.
    log::tell(&report);
    Ok(ExitCode::FAILURE)
}

/// The argument that most commands have.
fn id() -> Arg {
    Arg::new("id").required(true).value_name("ID").help("The container's id")
}

/// For commands that act on several containers at once.
fn regex(command: Building<'_>) -> Building<'_> {
    command.option("regex", Some('r'), |option| {
        option
            .action(ArgAction::SetTrue)
            .help("Take ID for a regular expression, and act on every container whose id it matches")
    })
}

/// The value of an option, if it was built and has one.
fn given<'a, T: Clone + Send + Sync + 'static>(matches: &'a ArgMatches, option: &str) -> Option<&'a T> {
    matches.try_get_one(option).ok().flatten()
}

/// All of its values.
fn all_given<'a, T: Clone + Send + Sync + 'static>(
    matches: &'a ArgMatches,
    option: &str,
) -> impl Iterator<Item = &'a T> + use<'a, T> {
    matches.try_get_many(option).ok().flatten().into_iter().flatten()
}

/// Whether an option that has no value is there.
fn flag(matches: &ArgMatches, option: &str) -> bool {
    given::<bool>(matches, option).is_some_and(|given| *given)
}

fn id_of(matches: &ArgMatches) -> &str {
    matches.get_one::<String>("id").expect("clap requires the id")
}

/// What an option takes that names a file or a directory.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// What such an option names. As in other runtimes, an empty one is as good as none.
fn path_of(matches: &ArgMatches, option: &str) -> Option<PathBuf> {
    given::<PathBuf>(matches, option).filter(|path| !path.as_os_str().is_empty()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: &str) -> Option<&'static str> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        sought(words.iter()).map(|verb| verb.name)
    }

    #[test]
    fn a_command_is_found_behind_the_options_before_it() {
        assert_eq!(found("state web"), Some("state"));
        assert_eq!(found("--log run --log-format=json --systemd-cgroup kill run 9"), Some("kill"));
    }

    #[test]
    fn what_is_not_plain_is_left_to_clap() {
        for line in [
            "",
            "help",
            "--help",
            "--log",
            "--log=/x",
            "--debug=1 run",
            "--roo /x run",
            "-- run",
            "-v run",
            "runs",
        ] {
            assert_eq!(found(line), None, "{line}");
        }
    }

    #[test]
    fn the_options_that_are_skipped_are_those_of_the_command_line() {
        let command = command(&[]);
        let mut known: Vec<String> = command
            .get_arguments()
            .filter(|option| option.get_id() != "version")
            .map(|option| format!("{}--{}", option.get_action().takes_values(), option.get_id()))
            .collect();
        known.sort();
        let skipped = BARE.split_terminator('\0').map(|option| format!("false{option}"));
        assert!(skipped.chain(VALUED.map(|option| format!("true{option}"))).eq(known));
    }

    /// Where an argument takes anything, what was not built for it would not even be missed.
    #[test]
    fn every_name_of_every_option_has_it_built() {
        for verb in &VERBS {
            let whole = (verb.whole)(Command::new(verb.name));
            for option in whole.get_arguments().filter(|option| option.get_long().is_some()) {
                let longs =
                    option.get_long().into_iter().chain(option.get_all_aliases().into_iter().flatten());
                let longs = longs.map(|long| format!("--{long}=x"));
                let shorts = option.get_short().map(|short| format!("-{short}"));
                for word in longs.chain(shorts).map(OsString::from) {
                    let words = ["id".into(), word];
                    let lean = (verb.arguments)(Building::lean(Command::new(verb.name), &words)).done();
                    let built = lean.get_arguments().any(|built| built.get_id() == option.get_id());
                    assert!(built, "{} {:?}", verb.name, words[1]);
                }
            }
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        command(&VERBS).debug_assert();
    }
}
