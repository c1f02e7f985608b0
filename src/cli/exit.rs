//! What kase ends with.

use crate::fault::Report;
use crate::log;
use crate::trace;

/// An exit code. std's own can be returned from its `main` only, and kase has another (`kernel::start`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitCode(u8);

impl ExitCode {
    pub const SUCCESS: Self = Self(0);
    pub const FAILURE: Self = Self(1);
}

impl From<u8> for ExitCode {
    fn from(code: u8) -> Self {
        Self(code)
    }
}

impl From<ExitCode> for u8 {
    fn from(code: ExitCode) -> Self {
        code.0
    }
}

/// Tells of an error.
pub fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    log::error(&Report::in_step(error, trace::last_step()));
    ExitCode::from(code)
}
