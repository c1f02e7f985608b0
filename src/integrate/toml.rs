//! What there is in a TOML text, read without a change to it: what writes such a text anew drops carriage returns.

use crate::fault::Fault;
use crate::json_tree::Cursor;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A TOML text that has been understood.
pub struct Document<'text> {
    text: &'text str,
    table: DeTable<'text>,
}

impl<'text> Document<'text> {
    /// Reads a whole text.
    ///
    /// # Errors
    /// It is no TOML.
    pub fn read(text: &'text str) -> Result<Self, Fault> {
        match DeTable::parse(text) {
            Ok(table) => Ok(Self { text, table: table.into_inner() }),
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                let (line, column) = Cursor::new(text.as_bytes()).line_and_column(at);
                Err(Fault::doing(format!("{} at line {line} column {column}", error.message())))
            }
        }
    }

    /// The value at this path of names, as it is written; of a table, its head.
    pub fn get(&self, path: &[&str]) -> Option<&'text str> {
        self.down(path).map(|value| &self.text[value.span()])
    }

    /// The line of the value at this path of names, from 1.
    pub fn line(&self, path: &[&str]) -> usize {
        let at = self.down(path).map_or(0, |value| value.span().start);
        Cursor::new(self.text.as_bytes()).line_and_column(at).0
    }

    /// The strings of the list at this path of names.
    pub fn strings(&self, path: &[&str]) -> impl Iterator<Item = &str> {
        let list = self.down(path).and_then(|value| value.get_ref().as_array());
        list.into_iter().flat_map(|list| list.iter()).filter_map(|element| element.get_ref().as_str())
    }

    fn down(&self, path: &[&str]) -> Option<&Spanned<DeValue<'text>>> {
        let (name, parents) = path.split_last()?;
        let parent =
            parents.iter().try_fold(&self.table, |table, name| table.get(*name)?.get_ref().as_table());
        parent?.get(*name)
    }
}

/// An example of `extras/` with this program, in quotes, for the usual one.
pub fn registered(example: &str, program: &str) -> String {
    example.replace("\"/usr/local/bin/kase\"", program)
}
