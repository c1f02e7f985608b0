//! Tables, and the choice between words and JSON, for every command that shows something.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches};
use std::io::{self, Write};

/// `--format`, of a command that shows a table.
pub fn format() -> Arg {
    format_or("table").short('f')
}

/// `--format`, where what is no JSON has this name.
pub fn format_or(words: &'static str) -> Arg {
    Arg::new("format")
        .long("format")
        .value_parser(PossibleValuesParser::new([words, "json"]))
        .default_value(words)
        .value_name("FORMAT")
        .help("How to show it")
}

/// Whether JSON is asked for.
pub fn is_json(matches: &ArgMatches) -> bool {
    matches.get_one::<String>("format").is_some_and(|format| format == "json")
}

/// At which side of a column its cells begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Columns as wide as their widest cell, one blank apart, as ps's are.
pub fn columns<const N: usize>(
    rows: &[[String; N]],
    align: [Align; N],
    out: &mut impl Write,
) -> io::Result<()> {
    let widths = widths(rows);
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            match align[column] {
                Align::Left => line.push_str(&format!("{cell:width$} ")),
                Align::Right => line.push_str(&format!("{cell:>width$} ")),
            }
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Columns as wide as their widest cell, at least 12 and 3 apart, as runc's tables are.
#[derive(Debug)]
pub struct Wide<const N: usize> {
    /// Every cell, one after the other, and where each ends.
    text: String,
    ends: Vec<usize>,
    widths: [usize; N],
}

impl<const N: usize> Wide<N> {
    /// With a first row.
    pub fn of(header: [&str; N]) -> Self {
        let mut table = Self { text: String::new(), ends: Vec::new(), widths: [0; N] };
        table.row(header);
        table
    }

    /// Adds a row.
    pub fn row(&mut self, cells: [&str; N]) {
        for (width, cell) in self.widths.iter_mut().zip(cells) {
            *width = cell.chars().count().max(*width);
            self.text.push_str(cell);
            self.ends.push(self.text.len());
        }
    }

    /// Writes it.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        const LEAST: usize = 12;
        const APART: usize = 3;
        let mut start = 0;
        let mut line = String::new();
        for row in self.ends.chunks_exact(N) {
            for (column, (end, width)) in row.iter().zip(self.widths).enumerate() {
                let cell = &self.text[start..*end];
                start = *end;
                line.push_str(cell);
                if column + 1 < N {
                    let blanks = (width + APART).max(LEAST) - cell.chars().count();
                    line.extend(std::iter::repeat_n(' ', blanks));
                }
            }
            line.push('\n');
            out.write_all(line.as_bytes())?;
            line.clear();
        }
        Ok(())
    }
}

fn widths<const N: usize>(rows: &[[String; N]]) -> [usize; N] {
    std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
}
