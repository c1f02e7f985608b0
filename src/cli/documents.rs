//! The manual page and the completions in extras/, made from the command line itself.
//!
//! `make extras` writes them, the test says when that was forgotten. Only here: what makes them has no place in
//! the binary.

use clap::Command;
use clap_complete::{Shell, generate};
use clap_mangen::Man;
use std::fs;
use std::path::Path;

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

/// With every command's own part, which otherwise only the command asked for has.
fn whole() -> Command {
    // A commit's number in it would make every commit change the files.
    let mut command = super::command(&super::VERBS).version(env!("CARGO_PKG_VERSION"));
    command.build();
    command
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
