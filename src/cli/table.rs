//! Output: tables, and the choice between words and JSON, for every command that shows something.

use super::arguments::Arguments;
use crate::fault::{Fault, OrFault, printable, printable_json};
use std::io::{self, Write};

/// Whether JSON is asked for.
pub fn is_json(arguments: &Arguments<'_>) -> bool {
    arguments.text("format") == Some("json")
}

/// Prints what a command shows, all of it at once: JSON, or what is printable already.
pub fn print(text: impl AsRef<[u8]>) -> anyhow::Result<()> {
    let text = String::from_utf8_lossy(text.as_ref());
    let mut out = io::stdout().lock();
    out.write_all(printable_json(&text).as_bytes()).and_then(|()| out.flush()).or_write_fault(|| {
        Fault::doing("write to standard output")
            .remedy("lead it to a file, a pipe or a terminal that takes it")
    })
}

/// At which side of a column its cells begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Columns as wide as their widest cell, one blank apart, as ps's are. Cells are made printable.
pub fn columns<const N: usize>(
    rows: &[[String; N]],
    align: [Align; N],
    out: &mut impl Write,
) -> io::Result<()> {
    let width =
        |column: usize| rows.iter().map(|row| printable(&row[column]).chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let (cell, width) = (printable(cell), widths[column]);
            match align[column] {
                Align::Left => line.push_str(&format!("{cell:width$} ")),
                Align::Right => line.push_str(&format!("{cell:>width$} ")),
            }
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Columns as wide as their widest cell, at least 12 and 3 apart, as runc's tables are. Cells are made printable.
#[derive(Debug)]
pub struct Wide<const N: usize> {
    /// Every cell, one after the other.
    text: String,
    cells: Vec<Cell>,
    widths: [usize; N],
}

#[derive(Debug)]
struct Cell {
    /// Where it ends.
    end: usize,
    /// In characters.
    width: usize,
}

impl<const N: usize> Wide<N> {
    /// With a first row.
    pub fn of(header: [&str; N]) -> Self {
        let mut table = Self { text: String::new(), cells: Vec::new(), widths: [0; N] };
        table.row(header);
        table
    }

    /// Adds a row.
    pub fn row(&mut self, cells: [&str; N]) {
        for (widest, cell) in self.widths.iter_mut().zip(cells) {
            let cell = printable(cell);
            let width = if cell.is_ascii() { cell.len() } else { cell.chars().count() };
            *widest = width.max(*widest);
            self.text.push_str(&cell);
            self.cells.push(Cell { end: self.text.len(), width });
        }
    }

    /// Writes it.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        const LEAST: usize = 12;
        const APART: usize = 3;
        let blanks = vec![b' '; self.widths.iter().max().unwrap_or(&0) + LEAST];
        let mut start = 0;
        for row in self.cells.chunks_exact(N) {
            for (column, (Cell { end, width }, widest)) in row.iter().zip(self.widths).enumerate() {
                out.write_all(&self.text.as_bytes()[start..*end])?;
                start = *end;
                if column + 1 < N {
                    out.write_all(&blanks[..(widest + APART).max(LEAST) - width])?;
                }
            }
            out.write_all(b"\n")?;
        }
        Ok(())
    }
}
