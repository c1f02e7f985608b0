//! The manual page and the completions in extras/, made from the command line itself.
//!
//! `make extras` writes them, the test says when that was forgotten. Only here: what makes them has no place in
//! the binary.

use super::options::{self, COMMANDS, KASE, Takes};
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, Command, value_parser};
use clap_complete::{Shell, generate};
use clap_mangen::Man;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn the_manual_and_the_completions_are_up_to_date() {
    let extras = Path::new(env!("CARGO_MANIFEST_DIR")).join("extras");
    for (name, text) in documents() {
        let file = extras.join(name);
        if std::env::var_os("KASE_EXTRAS").is_some() {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, &text).unwrap();
        }
        assert!(
            fs::read_to_string(&file).is_ok_and(|old| old == text),
            "extras/{name} is not: `make extras` writes it anew"
        );
    }
}

fn documents() -> [(&'static str, String); 4] {
    [
        ("man/kase.1", manual()),
        ("completions/kase.bash", completion(Shell::Bash)),
        ("completions/_kase", completion(Shell::Zsh)),
        ("completions/kase.fish", completion(Shell::Fish)),
    ]
}

/// The table as clap has it.
fn whole() -> Command {
    let arguments = |command: &'static options::Command| {
        let options = command.shown_options().filter(|option| option.name != "help").map(option);
        command.operands.iter().map(operand).chain(options)
    };
    let commands = COMMANDS.iter().map(|command| {
        Command::new(command.name).about(command.about).args(arguments(command)).after_help(command.note)
    });
    // A commit's number in it would make every commit change the files.
    let mut command = Command::new(KASE.name)
        .about(KASE.about)
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_subcommand(true)
        .disable_version_flag(true)
        .subcommand_required(true)
        .subcommand_value_name("COMMAND")
        .args(arguments(&KASE))
        .subcommands(commands);
    command.build();
    command
}

fn option(option: &'static options::Arg) -> Arg {
    let arg = value(option).long(option.name);
    option.short.map_or(arg.clone(), |short| arg.short(short))
}

fn operand(operand: &'static options::Arg) -> Arg {
    let required = operand.default.is_empty();
    match operand.takes {
        Takes::List(_) => value(operand).trailing_var_arg(true).num_args(0..),
        _ => value(operand).required(required),
    }
}

fn value(option: &'static options::Arg) -> Arg {
    let arg = Arg::new(option.name).help(option.help);
    let arg = if option.default.is_empty() { arg } else { arg.default_value(option.default) };
    match option.takes {
        Takes::Nothing => arg.action(ArgAction::SetTrue),
        Takes::List(word) => arg.value_name(word).action(ArgAction::Append),
        Takes::Path(word) => arg.value_name(word).value_parser(value_parser!(PathBuf)),
        Takes::Optional(word, _) => arg.value_name(word).num_args(0..=1).require_equals(true),
        Takes::OneOf(word, words) => arg.value_name(word).value_parser(PossibleValuesParser::new(words)),
        takes => arg.value_name(takes.word()),
    }
}

fn completion(shell: Shell) -> String {
    let mut text = Vec::new();
    generate(shell, &mut whole(), "kase", &mut text);
    String::from_utf8(text).unwrap()
}

/// One page: the head, the options of all commands, then each command with its own.
fn manual() -> String {
    let command = whole();
    let man = Man::new(command.clone()).date("").manual("Container runtimes");
    let mut page = Vec::new();
    man.render_title(&mut page).unwrap();
    man.render_name_section(&mut page).unwrap();
    man.render_synopsis_section(&mut page).unwrap();
    man.render_options_section(&mut page).unwrap();
    let mut page = String::from_utf8(page).unwrap();
    page.push_str(".SH COMMANDS\n");
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let usage = command.clone().render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ").replace('-', "\\-");
        page.push_str(&format!(".SS {}\n{usage}\n.PP\n{about}.\n", command.get_name()));
        let mut options = Vec::new();
        Man::new(command.clone()).render_options_section(&mut options).unwrap();
        let options = String::from_utf8(options).unwrap();
        page.push_str(options.split_once(".SH OPTIONS\n").map_or("", |(_, options)| options));
    }
    page.push_str(
        ".SH SEE ALSO\nThe runtime specification, https://github.com/opencontainers/runtime\\-spec\n",
    );
    // roff's writer begins every part with these two lines.
    let (preamble, rest) = page.split_once(".TH").unwrap();
    format!("{preamble}.TH{}", rest.replace(preamble, ""))
}
