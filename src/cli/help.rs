//! What `--help` prints, from the [table](super::options) of options.

use super::options::{Arg, COMMANDS, Command, KASE, Takes};

/// The help of a command; kase's own lists the commands.
pub fn of(command: &Command) -> String {
    let is_kase = command.name == KASE.name;
    let operands: String =
        command.operands.iter().map(|operand| format!(" {}", operand.in_usage())).collect();
    let usage = match is_kase {
        true => "kase [OPTIONS] <COMMAND>".to_string(),
        false => format!("kase {} [OPTIONS]{operands}", command.name),
    };
    let mut text = format!("{}\n\nUsage: {usage}\n", command.about);
    if is_kase {
        let commands = COMMANDS.iter().map(|command| (command.name.to_string(), command.about.to_string()));
        section("Commands", commands.collect(), &mut text);
    } else {
        let operands = command.operands.iter().map(|operand| (operand.in_usage(), operand.explained()));
        section("Arguments", operands.collect(), &mut text);
    }
    let options = command.shown_options().map(|option| (option.spelled(), option.explained()));
    section("Options", options.collect(), &mut text);
    if !command.note.is_empty() {
        text += &format!("\n{}\n", command.note);
    }
    text
}

/// Two columns below a heading, if there is anything.
fn section(heading: &str, rows: Vec<(String, String)>, text: &mut String) {
    let width = rows.iter().map(|(left, _)| left.len()).max().unwrap_or(0);
    if !rows.is_empty() {
        text.push_str(&format!("\n{heading}:\n"));
    }
    for (left, right) in rows {
        text.push_str(&format!("  {left:width$}  {right}\n"));
    }
}

impl Arg {
    /// As an operand: `<ID>`, `[SIGNAL]`, `[COMMAND]...`.
    fn in_usage(&self) -> String {
        let word = self.takes.word();
        match self.takes {
            Takes::List(_) => format!("[{word}]..."),
            _ if self.default.is_empty() => format!("<{word}>"),
            _ => format!("[{word}]"),
        }
    }

    /// As an option: `-b, --bundle <DIR>`.
    fn spelled(&self) -> String {
        let short = self.short.map_or("    ".to_string(), |short| format!("-{short}, "));
        let value = match self.takes {
            Takes::Nothing => String::new(),
            Takes::Optional(word, _) => format!("[=<{word}>]"),
            takes => format!(" <{}>", takes.word()),
        };
        format!("{short}--{}{value}", self.name)
    }

    /// Its line, with what it takes.
    fn explained(&self) -> String {
        let default =
            if self.default.is_empty() { String::new() } else { format!(" [default: {}]", self.default) };
        let words = match self.takes {
            Takes::OneOf(_, words) => format!(" [possible values: {}]", words.join(", ")),
            _ => String::new(),
        };
        format!("{}{default}{words}", self.help)
    }
}

/// As engines parse it.
pub fn version() -> &'static str {
    concat!("version ", env!("CARGO_PKG_VERSION"), "\ncommit: ", env!("KASE_COMMIT"), "\nspec: 1.3.0")
}
