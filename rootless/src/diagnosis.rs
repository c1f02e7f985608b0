//! What stood in the way of something, and what helps.

/// Which setting of the host stood in the way, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diagnosis {
    /// What it is.
    pub cause: String,
    /// What to do, in words that start with a verb.
    pub remedy: String,
}

impl Diagnosis {
    /// This cause, with what to do about it.
    #[must_use]
    pub fn new(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { cause: cause.into(), remedy: remedy.into() }
    }
}
