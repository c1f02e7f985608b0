//! What runs in the benchmarks' containers, as `/true`: without arguments it ends at once, with one it stays
//! until it is killed.
#![no_main]

/// Without Rust's own start, which would be most of it.
#[unsafe(no_mangle)]
extern "C" fn main(count: libc::c_int) -> libc::c_int {
    if count > 1 {
        loop {
            // SAFETY: pause takes nothing and changes nothing.
            unsafe { libc::pause() };
        }
    }
    0
}
