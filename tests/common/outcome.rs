//! How a command of kase ended and what it said.

use super::is_ours;

/// The end of one command.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What was typed, for the messages of failed tests.
    pub command: String,
    /// The exit code; `128 + N` if a signal ended kase itself.
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Outcome {
    /// Standard output of a command that must have succeeded.
    pub fn stdout(&self) -> &str {
        self.succeeded();
        &self.out
    }

    pub fn succeeded(&self) {
        assert_eq!(self.code, 0, "{self}");
    }

    pub fn exited(&self, code: i32) {
        assert_eq!(self.code, code, "{self}");
    }

    /// The command was refused the way every error is: exit code 1, one line that says `kase:` and
    /// each of `words`, and a line of help. Of another runtime only the code is asked.
    pub fn refused(&self, words: &[&str]) {
        self.fails(words);
        let helps = self.err.lines().last().is_some_and(|line| line.starts_with("  help: "));
        assert!(helps || !is_ours(), "the error is followed by a line of help: {self}");
    }

    /// As [`refused`](Self::refused), where the error says what there is to say.
    pub fn fails(&self, words: &[&str]) {
        if !is_ours() {
            assert_ne!(self.code, 0, "{self}");
            return;
        }
        assert_eq!(self.code, 1, "{self}");
        let mut lines = self.err.lines().filter(|line| !line.starts_with("  help: "));
        let Some(fault) = lines.next_back() else { panic!("an error expected: {self}") };
        for word in ["kase: "].iter().chain(words) {
            assert!(fault.contains(word), "the error names `{word}`: {self}");
        }
        // Before it nothing but lines of information, which have kase's name as well.
        assert!(lines.all(|line| line.starts_with("kase: ")), "nothing but the error: {self}");
    }

    /// The line of help, for the tests that follow it.
    pub fn help(&self) -> &str {
        self.err.lines().find_map(|line| line.strip_prefix("  help: ")).unwrap_or_default()
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { command, code, out, err } = self;
        write!(f, "\n$ {command}\n(exit code {code})\n--- stdout\n{out}--- stderr\n{err}---")
    }
}

/// The value of `key` in a line of `key=value` words, as the probe's `mount` and `stat` print.
pub fn value<'a>(line: &'a str, key: &str) -> &'a str {
    let found = line.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no {key}= in `{line}`"))
}

/// Whether a comma-separated list has this word.
pub fn has(list: &str, word: &str) -> bool {
    list.split(',').any(|found| found == word)
}
