//! Tells the binary which commit it is of, where there is one: a tarball builds as `unknown`. Packs its relocations
//! where linker and C library can, and has the linker put together what is executed together.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=scripts/build.rs");
    println!("cargo:rerun-if-env-changed=KASE_COMMIT");
    let commit = env::var("KASE_COMMIT").ok().or_else(commit).unwrap_or_else(|| "unknown".into());
    println!("cargo:rustc-env=KASE_COMMIT={commit}");
    if let Some(lld) = own_lld() {
        println!("cargo:rustc-link-arg-bins=-B{lld}");
        println!("cargo:rustc-link-arg-bins=-fuse-ld=lld");
    }
    if orders_code() {
        // What a command executes lies together: scripts/layout.
        let layout = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/layout.ld");
        println!("cargo:rerun-if-changed={}", layout.display());
        println!("cargo:rustc-link-arg-bins=-Wl,-T,{}", layout.display());
    }
    println!("cargo:rustc-check-cfg=cfg(early)");
    if enters_early() {
        println!("cargo:rustc-cfg=early");
        println!("cargo:rustc-link-arg-bins=-Wl,-e,kase_start");
    }
    if packs_relocations() {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Whether the linker is one of those that are known to take it: lld, which rustc brings, or GNU ld.
fn orders_code() -> bool {
    let is = |name: &str, value: &str| env::var(name).as_deref() == Ok(value);
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let own_linker =
        flags.contains("linker=") || flags.contains("fuse-ld=") || env::var_os("RUSTC_LINKER").is_some();
    is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") && !own_linker
}

/// Where rustc keeps its lld as cc looks for it. For glibc on x86_64 rustc takes that by itself; for musl it would be
/// whatever linker the machine has.
fn own_lld() -> Option<String> {
    let (env, host, rustc) =
        (env::var("CARGO_CFG_TARGET_ENV").ok()?, env::var("HOST").ok()?, env::var("RUSTC").ok()?);
    let sysroot = says(&rustc, &["--print", "sysroot"])?;
    let lld = format!("{}/lib/rustlib/{host}/bin/gcc-ld", sysroot.trim());
    (env == "musl" && Path::new(&lld).join("ld.lld").exists()).then_some(lld)
}

/// Whether there is an entry before libc's: src/kernel/early.rs, which is written for these processors. Code that is
/// not optimized calls by way of tables, and those need relocations.
fn enters_early() -> bool {
    let is = |name: &str, values: &[&str]| env::var(name).is_ok_and(|value| values.contains(&value.as_str()));
    is("PROFILE", &["release"])
        && is("CARGO_CFG_TARGET_OS", &["linux"])
        && is("CARGO_CFG_TARGET_ARCH", &["x86_64", "aarch64"])
}

/// A static program relocates itself, every pointer in its tables by an entry of 24 bytes. Packed (DT_RELR), they
/// are a thirtieth of that: the linker has to write them and the C library that is linked in to read them.
fn packs_relocations() -> bool {
    let number = |text: &str| {
        let mut numbers = text.split('.').map_while(|number| number.parse::<u32>().ok());
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    };
    match env::var("CARGO_CFG_TARGET_ENV").as_deref() {
        Ok("gnu") => {
            let links = says("ld", &["--help"]).is_some_and(|help| help.contains("pack-relative-relocs"));
            // glibc 2.36 came with it.
            let version = says("getconf", &["GNU_LIBC_VERSION"]).unwrap_or_default();
            let reads = number(version.trim().trim_start_matches("glibc ")) >= (2, 36);
            links && reads && env::var("HOST") == env::var("TARGET")
        }
        // musl 1.2.4 came with it, and Rust 1.93 with that.
        Ok("musl") => {
            let rustc = env::var("RUSTC").unwrap_or_default();
            let version = says(&rustc, &["--version"]).unwrap_or_default();
            number(version.trim_start_matches("rustc ")) >= (1, 93)
        }
        _ => false,
    }
}

fn says(program: &str, words: &[&str]) -> Option<String> {
    let output = Command::new(program).args(words).output().ok()?;
    String::from_utf8(output.stdout).ok()
}

fn commit() -> Option<String> {
    // A tarball may be unpacked inside somebody else's repository.
    let top = git(&["rev-parse", "--show-toplevel"])?;
    let own = env::var("CARGO_MANIFEST_DIR").ok()?;
    if Path::new(&top).canonicalize().ok()? != Path::new(&own).canonicalize().ok()? {
        return None;
    }
    // Grows with every commit and checkout.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    if Path::new(&log).exists() {
        println!("cargo:rerun-if-changed={log}");
    }
    git(&["rev-parse", "HEAD"])
}

fn git(words: &[&str]) -> Option<String> {
    let output = Command::new("git").args(words).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_string())
}
