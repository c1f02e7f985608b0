//! Runs of user or group ids.

use std::fmt;

/// 4294967295 means "no id" to the kernel, so no range may reach it.
pub(crate) const FIRST_INVALID: u64 = u32::MAX as u64;

/// A run of ids that is not empty and ends below 4294967295, which is no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first id.
    pub start: u32,
    /// How many.
    pub count: u32,
}

impl Range {
    /// The first id behind the range; fits u64 whatever the fields hold.
    #[must_use]
    pub fn end(self) -> u64 {
        u64::from(self.start) + u64::from(self.count)
    }

    /// Whether `id` is one of these.
    #[must_use]
    pub fn contains(self, id: u64) -> bool {
        (u64::from(self.start)..self.end()).contains(&id)
    }

    pub(crate) fn overlaps(self, other: Self) -> bool {
        u64::from(self.start) < other.end() && u64::from(other.start) < self.end()
    }

    /// What is left of this range when `other` is taken out, lower part first.
    fn without(self, other: Self) -> impl Iterator<Item = Self> {
        let (start, end) = (u64::from(self.start), self.end());
        let below = (start, end.min(u64::from(other.start)));
        let above = (start.max(other.end()), end);
        [below, above].into_iter().filter_map(|(start, end)| Self::between(start, end))
    }

    /// What is left of this range when each of `taken` is taken out.
    pub(crate) fn subtract(self, taken: &[Self]) -> Vec<Self> {
        let rest = |left: Vec<Self>, other: &Self| left.into_iter().flat_map(|r| r.without(*other)).collect();
        taken.iter().fold(vec![self], rest)
    }

    pub(crate) fn between(start: u64, end: u64) -> Option<Self> {
        let count = end.checked_sub(start).filter(|count| *count > 0)?;
        Some(Self { start: start.try_into().ok()?, count: count.try_into().ok()? })
    }
}

impl fmt::Display for Range {
    /// `100000-165535`, as usermod(8) writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.end().saturating_sub(1))
    }
}
