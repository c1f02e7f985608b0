//! The table of known attacks in `.github/SECURITY.md` is written from the heads of the tests, so that each line has
//! its test: `KASE_EXTRAS=write cargo test -p structure` writes it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const PAGE: &str = "../../.github/SECURITY.md";
const BEGIN: &str = "<!-- from the heads of tests/attacks, by `make extras` -->\n";
const END: &str = "<!-- end -->\n";

#[test]
fn the_table_of_known_attacks_is_that_of_the_tests() {
    let page = fs::read_to_string(PAGE).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let wanted = format!("{before}{BEGIN}{}{END}{after}", table());
    if std::env::var_os("KASE_EXTRAS").is_some() {
        fs::write(PAGE, wanted).unwrap();
    } else {
        assert!(page == wanted, "make extras writes the table of .github/SECURITY.md anew");
    }
}

/// A line for each number, with what the attacker does and the file of the tests.
fn table() -> String {
    let mut lines = BTreeMap::new();
    for entry in fs::read_dir("../attacks").unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let head = head(&path);
        for (year, number) in numbers(&head) {
            let test = format!("[{name}](../tests/attacks/{name})");
            let (tests, deeds): &mut (Vec<String>, Vec<String>) = lines.entry((year, number)).or_default();
            tests.push(test);
            deeds.push(deed(&head));
        }
    }
    let mut table = String::from("| CVE | what the attacker does | tests |\n|---|---|---|\n");
    for ((year, number), (mut tests, mut deeds)) in lines {
        tests.sort();
        deeds.sort();
        table += &format!("| CVE-{year}-{number:04} | {} | {} |\n", deeds.join("; "), tests.join(", "));
    }
    table
}

/// The file's own documentation, on one line.
fn head(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().map_while(|line| line.strip_prefix("//!"));
    lines.map(str::trim).collect::<Vec<_>>().join(" ")
}

/// Its first sentence, without what stands in brackets.
fn deed(head: &str) -> String {
    let mut text = String::new();
    let mut depth = 0;
    for letter in head.chars() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            letter if depth == 0 => text.push(letter),
            _ => {}
        }
    }
    let sentence = text.split(". ").next().unwrap_or_default();
    let sentence = sentence.split([':', ';']).next().unwrap_or_default();
    sentence.trim().trim_end_matches('.').replace(" ,", ",").to_owned()
}

fn numbers(head: &str) -> Vec<(u32, u32)> {
    let number = |text: &str| {
        let (year, rest) = text.split_once('-')?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        Some((year.parse().ok()?, digits.parse().ok()?))
    };
    head.split("CVE-").skip(1).filter_map(number).collect()
}
