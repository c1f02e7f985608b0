//! What scripts/build.rs tells a kase that is a program.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-env=KASE_COMMIT=unknown");
}
