//! libFuzzer around the target that `KASE_FUZZ_TARGET` names. With `KASE_FUZZ_CORPUS` and `KASE_FUZZ_SEEDS` it writes
//! what the target can start from, of the files in the first directory, into the second.

#![no_main]

use kase::fuzz::Target;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use std::path::Path;
use std::sync::OnceLock;

static TARGET: OnceLock<&'static Target> = OnceLock::new();

fn chosen() -> &'static Target {
    TARGET.get_or_init(|| {
        let name = std::env::var("KASE_FUZZ_TARGET").unwrap_or_default();
        Target::named(&name).unwrap_or_else(|| {
            println!("{}", Target::names().collect::<Vec<_>>().join("\n"));
            std::process::exit(0)
        })
    })
}

fuzz_target!(init: {
    let target = chosen();
    if let (Some(from), Some(to)) = (std::env::var_os("KASE_FUZZ_CORPUS"), std::env::var_os("KASE_FUZZ_SEEDS")) {
        target.write_seeds(Path::new(&from), Path::new(&to)).expect("the seeds can be written");
    }
}, |bytes: &[u8]| chosen().execute(bytes));

fuzz_mutator!(|bytes: &mut [u8], size: usize, most: usize, seed: u32| {
    match chosen().mutate(&bytes[..size], most, seed) {
        Some(mutated) => {
            bytes[..mutated.len()].copy_from_slice(&mutated);
            mutated.len()
        }
        None => fuzzer_mutate(bytes, size, most),
    }
});
