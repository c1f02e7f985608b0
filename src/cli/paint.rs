//! What doctor and lint print alike: colours on a terminal, JSON objects, and counted words.

use serde_json::{Map, Value};
use std::io::{self, IsTerminal};

/// A JSON object of these fields; one that is null is left out.
pub fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let mut map = Map::new();
    for (name, value) in fields {
        if !value.is_null() {
            map.insert(name.to_string(), value);
        }
    }
    Value::Object(map)
}

/// Whether words are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// They are.
    Coloured,
    /// They are not: nobody looks, or somebody does not want it (<https://no-color.org>).
    Plain,
}

/// SGR parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// As it should be.
    Green,
    /// Worth a look.
    Yellow,
    Red,
}

impl Paint {
    /// As standard output wants it.
    pub fn of_stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if io::stdout().is_terminal() && !unwanted { Self::Coloured } else { Self::Plain }
    }

    /// The text in this colour.
    pub fn dress(self, colour: Colour, text: &str) -> String {
        let number = match colour {
            Colour::Green => 32,
            Colour::Yellow => 33,
            Colour::Red => 31,
        };
        match self {
            Self::Coloured => format!("\x1b[{number}m{text}\x1b[0m"),
            Self::Plain => text.to_string(),
        }
    }
}

/// `no failures`, `1 failure`, `2 failures`.
pub fn counted(number: usize, word: &str) -> String {
    match number {
        0 => format!("no {word}s"),
        1 => format!("1 {word}"),
        number => format!("{number} {word}s"),
    }
}
