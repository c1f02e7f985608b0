//! Lists of processors and of memory nodes.

use crate::plan::number_list::Mask;

pub fn execute(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mask = match Mask::parse(&text) {
        Ok(mask) => mask,
        Err(flaw) => return assert!(!flaw.is_empty()),
    };
    let numbers: Vec<usize> = mask.numbers().collect();
    assert_eq!(numbers.len(), mask.count() as usize);
    assert!(numbers.is_sorted() && numbers.iter().all(|number| *number <= Mask::HIGHEST));
    assert_eq!(numbers.is_empty(), mask.is_empty());
    let written: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    assert_eq!(Mask::parse(&written.join(",")).as_ref(), Ok(&mask), "what is written is what was read");
}
