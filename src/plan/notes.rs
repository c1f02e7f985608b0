//! What planning has to tell the user besides errors; it is logged once the plan stands.

use tracing::Level;

/// Messages, in the order in which they were added.
#[derive(Debug, Default)]
pub struct Notes(Vec<(Level, String)>);

impl Notes {
    /// A decision that the user might not expect.
    pub fn info(&mut self, text: String) {
        self.0.push((Level::INFO, text));
    }

    /// Something that is left out.
    pub fn warn(&mut self, text: String) {
        self.0.push((Level::WARN, text));
    }

    /// A change that makes an entry work here.
    pub fn debug(&mut self, text: String) {
        self.0.push((Level::DEBUG, text));
    }

    /// All notes, in order.
    pub fn iter(&self) -> impl Iterator<Item = &(Level, String)> {
        self.0.iter()
    }
}
