//! Lists of processors and of memory nodes, such as `0-3,7`; cpuset(7), "List format".

use std::ops::RangeInclusive;

/// The numbers of a list as the kernel takes them: bit n is number n. Empty without any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mask(Vec<libc::c_ulong>);

/// What is wrong with a list; reads after the list itself.
pub type Flaw = &'static str;

/// How lists are written, for the remedies.
pub const FORM: &str = "write numbers and ranges with commas between them, as in 0-3,7";

impl Mask {
    /// The highest number that a list may name, far above any kernel's.
    pub const HIGHEST: usize = (1 << 16) - 1;

    /// Every processor that any kernel can have: 8192 are the most that one is built for. Taking those that are online
    /// would keep out what comes later; the kernel masks out what it does not have, and what the cgroup does not.
    pub fn all() -> Self {
        Self(vec![libc::c_ulong::MAX; 8192 / BITS])
    }

    /// Reads a list. Blanks around its elements and commas too many are let pass, as in runc.
    pub fn parse(list: &str) -> Result<Self, Flaw> {
        let mut mask = Self::default();
        for element in list.split(',').map(str::trim).filter(|element| !element.is_empty()) {
            range(element)?.for_each(|number| mask.add(number));
        }
        Ok(mask)
    }

    /// Whether no number is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many numbers are in it.
    pub fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// The numbers in it, ascending.
    pub fn numbers(&self) -> impl Iterator<Item = usize> {
        let bits = |(at, word): (usize, &libc::c_ulong)| {
            let word = *word;
            (0..BITS).filter(move |bit| word >> bit & 1 != 0).map(move |bit| at * BITS + bit)
        };
        self.0.iter().enumerate().flat_map(bits)
    }

    /// The kernel's words.
    pub fn words(&self) -> &[libc::c_ulong] {
        &self.0
    }

    fn add(&mut self, number: usize) {
        let word = number / BITS;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (number % BITS);
    }
}

const BITS: usize = libc::c_ulong::BITS as usize;

fn range(element: &str) -> Result<RangeInclusive<usize>, Flaw> {
    let Some((first, last)) = element.split_once('-') else {
        let one = number(element)?;
        return Ok(one..=one);
    };
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err("has a range whose end is before its beginning");
    }
    Ok(first..=last)
}

fn number(text: &str) -> Result<usize, Flaw> {
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("is no list of numbers");
    }
    match text.parse() {
        Ok(number) if number <= Mask::HIGHEST => Ok(number),
        _ => Err("has a number above 65535"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &str) -> Vec<libc::c_ulong> {
        Mask::parse(list).unwrap().words().to_vec()
    }

    #[test]
    fn numbers_and_ranges_add_up() {
        assert_eq!(words("0-3,7"), [0b1000_1111]);
        assert_eq!(words("64"), [0, 1]);
        assert_eq!(words(" 1 , 2-2 ,,3 - 4,"), [0b1_1110]);
        assert_eq!(Mask::parse("0-65535").unwrap().count(), 65536);
        assert!(Mask::parse("").unwrap().is_empty());
        assert_eq!(Mask::parse("64,0-1,129").unwrap().numbers().collect::<Vec<_>>(), [0, 1, 64, 129]);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for list in ["a", "1-", "-1", "1--2", "0x1", "3-1", "+1", "65536", "0-98765432109876543210", "1 2"] {
            assert!(Mask::parse(list).is_err(), "{list}");
        }
    }

    #[test]
    fn all_is_as_much_as_the_largest_kernel_has() {
        assert_eq!(Mask::all(), Mask::parse("0-8191").unwrap());
    }
}
