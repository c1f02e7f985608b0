//! The score of the kernel's out-of-memory killer, lent to a process that is made.

use std::fs::{File, OpenOptions};
use std::io::read_to_string;
use std::os::unix::fs::FileExt;

/// This process has the score that the next one that it makes begins with, until this is dropped. That one could not
/// set it: the files in /proc of a process that nobody may look into belong to root.
#[derive(Debug)]
pub struct LentScore {
    file: File,
    own: String,
}

impl LentScore {
    /// Nothing where it is the same, or where it cannot be set, which the new process tries again and then tells.
    pub fn of_this_process(score: i32) -> Option<Self> {
        let file = OpenOptions::new().read(true).write(true).open("/proc/self/oom_score_adj").ok()?;
        let own = read_to_string(&file).ok()?.trim().to_owned();
        let score = score.to_string();
        (own != score).then_some(())?;
        file.write_all_at(score.as_bytes(), 0).ok()?;
        Some(Self { file, own })
    }
}

impl Drop for LentScore {
    fn drop(&mut self) {
        // Back to what it was is always allowed.
        let _ = self.file.write_all_at(self.own.as_bytes(), 0);
    }
}
