//! A command of the command line while it is built: with every option for the help and for what is wrong, else with
//! those alone that the words at hand have. To build an option takes longer than to parse it, and most are not given.

use clap::{Arg, Command};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// The command so far, and which options it gets.
pub struct Building<'a> {
    command: Command,
    /// Those of these words; all, without.
    words: Option<&'a [OsString]>,
}

impl<'a> Building<'a> {
    /// With every option.
    pub fn whole(command: Command) -> Self {
        Self { command, words: None }
    }

    /// With the options that are among these words. Parsing what has others is an error, though they exist.
    pub fn lean(command: Command, words: &'a [OsString]) -> Self {
        let building = Self { command, words: Some(words) };
        let helps = building.has("help", Some('h'));
        building.with(|command| command.disable_help_flag(!helps))
    }

    pub fn done(self) -> Command {
        self.command
    }

    /// Adds an option `--name`, and for short `-short`, as `shape` makes it.
    pub fn option(self, name: &'static str, short: Option<char>, shape: impl FnOnce(Arg) -> Arg) -> Self {
        let alias = ALIASES.iter().find(|(of, _)| *of == name).map(|(_, alias)| *alias);
        if !self.has(name, short) && !alias.is_some_and(|alias| self.has(alias, None)) {
            return self;
        }
        let option = Arg::new(name).long(name);
        let option = match alias {
            Some(alias) => option.alias(alias),
            None => option,
        };
        let option = match short {
            Some(short) => option.short(short),
            None => option,
        };
        self.with(|command| command.arg(shape(option)))
    }

    /// Changes the command in other ways.
    pub fn with(self, change: impl FnOnce(Command) -> Command) -> Self {
        Self { command: change(self.command), ..self }
    }

    /// Whether a word may be this option, which need not be where one is looked for.
    fn has(&self, name: &str, short: Option<char>) -> bool {
        self.words.is_none_or(|words| words.iter().any(|word| may_be(word.as_bytes(), name, short)))
    }
}

/// Other names that options have with runc.
const ALIASES: [(&str, &str); 2] = [("apparmor", "apparmour"), ("detach", "detatch")];

fn may_be(word: &[u8], name: &str, short: Option<char>) -> bool {
    match word {
        [b'-', b'-', long @ ..] => {
            long.strip_prefix(name.as_bytes()).is_some_and(|rest| matches!(rest, [] | [b'=', ..]))
        }
        [b'-', shorts @ ..] => short.is_some_and(|short| shorts.contains(&(short as u8))),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ArgAction;

    #[test]
    fn an_option_is_built_if_a_word_may_be_it() {
        for (words, built) in [
            ("id", [false, false]),
            ("--all id", [true, false]),
            ("--all=x --quiets", [true, false]),
            ("-xqa id", [true, true]),
            ("-- -q", [false, true]),
        ] {
            let words: Vec<OsString> = words.split(' ').map(OsString::from).collect();
            let flag = |option: Arg| option.action(ArgAction::SetTrue);
            let command = Building::lean(Command::new("kase"), &words)
                .option("all", Some('a'), flag)
                .option("quiet", Some('q'), flag)
                .done();
            let has = |name: &str| command.get_arguments().any(|option| option.get_id() == name);
            assert_eq!([has("all"), has("quiet")], built, "{words:?}");
        }
    }
}
