//! Whether config.json may be changed so that it works for who calls.

/// Whether entries that cannot work for this caller are changed to what can (`--rootless`).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Adapt {
    /// They are.
    Yes,
    /// config.json means what it says.
    #[default]
    No,
}
