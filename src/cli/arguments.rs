//! The command line, taken apart once, by the [table](super::options) of options.

use super::help;
use super::options::{Arg, COMMANDS, Command, KASE, Takes};
use crate::fault::Fault;
use crate::lint::nearest;
use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::slice::Iter;
use std::str::FromStr;

/// The options and operands of a command, as they were given.
pub struct Arguments<'a> {
    pub command: &'static Command,
    values: Vec<(&'static Arg, &'a OsStr)>,
}

impl<'a> Arguments<'a> {
    /// Whether the option is there.
    pub fn flag(&self, name: &str) -> bool {
        self.given(name).is_some()
    }

    /// The container's id, of a command that requires one.
    pub fn id(&self) -> &'a str {
        self.text("id").unwrap_or_default()
    }

    /// The values that an option or operand was given.
    pub fn all(&self, name: &str) -> impl DoubleEndedIterator<Item = &'a OsStr> {
        self.values.iter().filter(move |(arg, _)| arg.name == name).map(|(_, value)| *value)
    }

    /// As texts, which the table has to say that they are.
    pub fn texts(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.all(name).filter_map(OsStr::to_str)
    }

    /// The last of them: as with runc and crun, it is what counts.
    pub fn given(&self, name: &str) -> Option<&'a OsStr> {
        self.all(name).next_back()
    }

    /// That, or the default.
    fn value(&self, name: &str) -> Option<&'a OsStr> {
        let arg =
            || self.command.operands.iter().chain(self.command.all_options()).find(|arg| arg.name == name);
        let default = || arg().map(|arg| OsStr::new(arg.default)).filter(|default| !default.is_empty());
        self.given(name).or_else(default)
    }

    /// That as a text. As with other runtimes, an empty one is as good as none.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.value(name)?.to_str().filter(|text| !text.is_empty())
    }

    /// What it names. As with other runtimes, an empty path is as good as none.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.value(name).filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    /// The number that it is.
    pub fn number<T: FromStr<Err: Display>>(&self, name: &str) -> anyhow::Result<T> {
        number(name, &self.value(name).unwrap_or_default().to_string_lossy())
    }
}

/// The number that an option's value is.
pub fn number<T: FromStr<Err: Display>>(name: &str, text: &str) -> anyhow::Result<T> {
    text.parse().map_err(|error| wrong_value(name, text, error))
}

/// What is wrong with the value of an option.
pub fn wrong_value(name: &str, value: &str, why: impl Display) -> anyhow::Error {
    Fault::doing(format!("invalid value {value:?} for --{name}: {why}")).remedy(SEE_HELP).into()
}

const SEE_HELP: &str = "see kase --help and kase COMMAND --help";

/// Why there are no arguments.
pub enum Stop {
    /// This was asked for.
    Show(String),
    /// The command line is wrong.
    Wrong(anyhow::Error),
}

fn wrong(what: String, meant: Option<&str>) -> Stop {
    let remedy = match meant {
        Some(meant) => format!("did you mean {meant}? See kase --help"),
        None => SEE_HELP.to_string(),
    };
    Stop::Wrong(Fault::doing(what).remedy(remedy).into())
}

/// Takes a command line apart, without the program's name: what comes before the command, then what follows it.
pub fn parse(words: &[OsString]) -> Result<[Arguments<'_>; 2], Stop> {
    let mut global = Parser::of(&KASE, words.iter());
    let command = match global.next_operand()? {
        None => &KASE,
        Some(name) if name == "help" => {
            let command = global.words.next().map_or(Ok(&KASE), |name| named(name))?;
            return Err(Stop::Show(help::of(command)));
        }
        Some(name) => named(name)?,
    };
    let mut own = Parser::of(command, global.words);
    own.operands()?;
    Ok([global.arguments, own.arguments])
}

fn named(name: &OsStr) -> Result<&'static Command, Stop> {
    COMMANDS.iter().find(|command| command.name == name).ok_or_else(|| {
        let name = name.to_string_lossy();
        let meant = nearest(&name, COMMANDS.iter().map(|command| command.name));
        wrong(format!("there is no command {name}"), meant)
    })
}

/// An option, with the value that it has in its own word.
type Given<'a> = (&'static Arg, Option<&'a [u8]>);

/// A command's arguments so far, and the words that are left.
struct Parser<'a> {
    arguments: Arguments<'a>,
    words: Iter<'a, OsString>,
    /// How many of the command's operands have their values.
    taken: usize,
    /// No word is an option any more.
    ended: bool,
}

impl<'a> Parser<'a> {
    fn of(command: &'static Command, words: Iter<'a, OsString>) -> Self {
        Self { arguments: Arguments { command, values: Vec::new() }, words, taken: 0, ended: false }
    }

    fn operands(&mut self) -> Result<(), Stop> {
        for operand in self.arguments.command.operands {
            let is_list = matches!(operand.takes, Takes::List(_));
            while let Some(word) = self.next_operand()? {
                self.add(operand, word)?;
                if !is_list {
                    break;
                }
                // They are another program's.
                self.ended = true;
            }
            if operand.default.is_empty() && !is_list && !self.arguments.flag(operand.name) {
                return Err(wrong(format!("{} is missing", operand.takes.word()), None));
            }
            self.taken += 1;
        }
        match self.next_operand()? {
            None => Ok(()),
            Some(word) => Err(wrong(format!("unexpected argument {}", word.display()), None)),
        }
    }

    /// Takes the options up to the next word that is none. What begins with a hyphen and is no option of ours may be
    /// an operand, but for the first: a signal's number, options of ps.
    fn next_operand(&mut self) -> Result<Option<&'a OsStr>, Stop> {
        while let Some(word) = self.words.next() {
            match word.as_bytes() {
                _ if self.ended => return Ok(Some(word)),
                b"--" => self.ended = true,
                [b'-', _, ..] => match self.options_in(word.as_bytes()) {
                    Some(options) => {
                        for (option, value) in options {
                            self.option(option, value)?;
                        }
                    }
                    None if (1..self.arguments.command.operands.len()).contains(&self.taken) => {
                        return Ok(Some(word));
                    }
                    None => return Err(self.unknown(word)),
                },
                _ => return Ok(Some(word)),
            }
        }
        Ok(None)
    }

    /// The options that a word has, each with the value that stands in the word too; nothing if one is not known.
    fn options_in(&self, word: &'a [u8]) -> Option<Vec<Given<'a>>> {
        let find = |is: &dyn Fn(&Arg) -> bool| self.arguments.command.all_options().find(|option| is(option));
        if let Some(long) = word.strip_prefix(b"--") {
            let (name, value) = match long.iter().position(|byte| *byte == b'=') {
                Some(at) => (&long[..at], Some(&long[at + 1..])),
                None => (long, None),
            };
            let option = match find(&|option| option.name.as_bytes() == name)? {
                Arg { takes: Takes::As(name), .. } => find(&|option| option.name == *name)?,
                option => option,
            };
            return Some(vec![(option, value)]);
        }
        let (mut shorts, mut options) = (&word[1..], Vec::new());
        while let [short, rest @ ..] = shorts {
            let option = find(&|option| option.short == Some(char::from(*short)))?;
            let has_value = option.takes != Takes::Nothing && !rest.is_empty();
            options.push((option, has_value.then(|| rest.strip_prefix(b"=").unwrap_or(rest))));
            shorts = if has_value { &[] } else { rest };
        }
        Some(options)
    }

    #[cold]
    fn unknown(&self, word: &OsStr) -> Stop {
        let word = word.to_string_lossy();
        let name = word.trim_start_matches('-').split('=').next().unwrap_or_default();
        let meant = nearest(name, self.arguments.command.all_options().map(|option| option.name));
        wrong(format!("there is no option {word}"), meant.map(|meant| format!("--{meant}")).as_deref())
    }

    /// Takes an option, with the value that it has in its own word.
    fn option(&mut self, option: &'static Arg, value: Option<&'a [u8]>) -> Result<(), Stop> {
        let name = option.name;
        match name {
            "help" => return Err(Stop::Show(help::of(self.arguments.command))),
            "version" => return Err(Stop::Show(format!("kase {}\n", help::version()))),
            _ => {}
        }
        let value = match (option.takes, value.map(OsStr::from_bytes)) {
            (Takes::Nothing, Some(_)) => return Err(wrong(format!("--{name} takes no value"), None)),
            (Takes::Nothing, None) => OsStr::new(""),
            (Takes::Optional(_, missing), None) => OsStr::new(missing),
            (_, Some(value)) => value,
            // A forgotten value must not swallow the next option; a negative number is none.
            (takes, None) => match self.words.next() {
                Some(word) if !matches!(word.as_bytes(), [b'-', next, ..] if !next.is_ascii_digit()) => word,
                _ => return Err(wrong(format!("--{name} needs a value: {}", takes.word()), None)),
            },
        };
        self.add(option, value)
    }

    fn add(&mut self, arg: &'static Arg, value: &'a OsStr) -> Result<(), Stop> {
        let invalid = |why: String| format!("invalid value {value:?} for {}: {why}", arg.name);
        let value = match (arg.takes, value.to_str()) {
            (Takes::Nothing | Takes::Path(_) | Takes::Optional(..), _) => value,
            (_, None) => return Err(wrong(invalid("it is not UTF-8".to_string()), None)),
            (Takes::OneOf(_, words), Some(text)) => {
                let word = words.iter().find(|word| word.eq_ignore_ascii_case(text)).ok_or_else(|| {
                    let why = format!("it is not one of {}", words.join(", "));
                    wrong(invalid(why), nearest(text, words.iter().copied()))
                });
                OsStr::new(word?)
            }
            (_, Some(_)) => value,
        };
        self.arguments.values.push((arg, value));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a line says: the command, and each argument with its value.
    fn parsed(line: &str) -> Result<String, String> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let said = |arguments: &Arguments<'_>| {
            let said = |(arg, value): &(&Arg, &OsStr)| format!("{}={}", arg.name, value.display());
            let values: Vec<String> = arguments.values.iter().map(said).collect();
            format!("{} {}", arguments.command.name, values.join(" "))
        };
        match parse(&words) {
            Ok([global, own]) => Ok([said(&global), said(&own)].join(", ")),
            Err(Stop::Show(text)) => Ok(text.lines().nth(2).unwrap_or_default().to_string()),
            Err(Stop::Wrong(error)) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_command_stands_behind_the_options_before_it() {
        for (line, said) in [
            ("state web", "kase , state id=web"),
            (
                "--log run --log-format=JSON --systemd-cgroup kill run 9",
                "kase log=run log-format=json systemd-cgroup=, kill id=run signal=9",
            ),
            (
                "run web -db /b --overlay --pid-file= -f=c",
                "kase , run id=web detach= bundle=/b overlay=tmpfs pid-file= config=c",
            ),
            ("run --overlay=/o --detatch web", "kase , run overlay=/o detach= id=web"),
            ("update -r - --memory-swap -1 web", "kase , update resources=- memory-swap=-1 id=web"),
            ("help run", "Usage: kase run [OPTIONS] <ID>"),
            ("run -dh", "Usage: kase run [OPTIONS] <ID>"),
            ("kill web -h --dance", "Usage: kase kill [OPTIONS] <ID> [SIGNAL]"),
        ] {
            assert_eq!(parsed(line).as_deref(), Ok(said), "{line}");
        }
    }

    #[test]
    fn what_no_option_of_ours_is_may_be_an_operand_behind_the_first() {
        for (line, said) in [
            ("kill web -9 -a", "kase , kill id=web signal=-9 all="),
            (
                "exec -t web -e A=b sh -c -- -t",
                "kase , exec tty= id=web env=A=b command=sh command=-c command=-- command=-t",
            ),
            ("exec web -- -t", "kase , exec id=web command=-t"),
            ("exec web -tX -t", "kase , exec id=web command=-tX command=-t"),
            ("ps web -ef -f json", "kase , ps id=web options=-ef options=-f options=json"),
        ] {
            assert_eq!(parsed(line).as_deref(), Ok(said), "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_by_its_name() {
        for (line, what) in [
            ("dance", "dance"),
            ("help dance", "dance"),
            ("--dance run", "--dance"),
            ("--log", "--log needs a value: FILE"),
            ("--root --debug state web", "--root needs a value: DIR"),
            ("--debug=1 state web", "--debug takes no value"),
            ("--roo /x run", "--roo"),
            ("--log-level loud list", "loud"),
            ("state", "ID is missing"),
            ("kill -9 web", "-9"),
            ("state web other", "other"),
            ("state web --debug", "--debug"),
        ] {
            assert!(parsed(line).unwrap_err().contains(what), "{line}: {:?}", parsed(line));
        }
    }

    #[test]
    fn the_table_is_consistent() {
        for command in COMMANDS.iter().chain([&KASE]) {
            let mut names: Vec<_> =
                command.operands.iter().chain(command.all_options()).map(|arg| arg.name).collect();
            names.sort_unstable();
            assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{}: {names:?}", command.name);
            for option in command.all_options() {
                assert!(
                    !matches!(option.takes, Takes::As(other) if command.all_options().all(|one| one.name != other))
                );
            }
            for word in command.all_options().filter_map(|option| option.short) {
                assert_eq!(
                    command.all_options().filter(|option| option.short == Some(word)).count(),
                    1,
                    "{word}"
                );
            }
        }
    }
}
