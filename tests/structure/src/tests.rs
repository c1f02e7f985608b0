//! The rules held against kase, and against small crates that break them.

use super::*;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

fn every_file() -> Vec<(String, String)> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    let mut ahead = ["src", "rootless", "tests"].map(|directory| top.join(directory)).to_vec();
    while let Some(directory) = ahead.pop() {
        for entry in fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()) {
            let is_source = entry.extension().is_some_and(|extension| extension == "rs");
            if entry.is_dir() && !entry.ends_with("target") {
                ahead.push(entry);
            } else if is_source {
                let name = entry.strip_prefix(&top).unwrap().to_str().unwrap().to_string();
                files.push((name, fs::read_to_string(&entry).unwrap()));
            }
        }
    }
    files.sort();
    files
}

/// Read once for all tests.
static FILES: LazyLock<Vec<(String, String)>> = LazyLock::new(every_file);
static KASE: LazyLock<Crate> = LazyLock::new(|| Crate::read("kase", "src/main.rs", &files()));
static ROOTLESS: LazyLock<Crate> = LazyLock::new(|| Crate::read("rootless", "rootless/src/lib.rs", &files()));

fn files() -> Vec<(&'static str, &'static str)> {
    FILES.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect()
}

#[track_caller]
fn none(found: impl IntoIterator<Item = String>) {
    let found: Vec<_> = found.into_iter().collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn every_room_imports_only_those_it_may() {
    none(rooms(&KASE, ROOMS));
    let named = ROOTLESS.namings.iter().filter(|naming| naming.path[0] == "kase");
    none(
        named.map(|naming| {
            format!("{}:{}: the crate rootless knows nothing of kase", naming.file, naming.line)
        }),
    );
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    none([&*KASE, &*ROOTLESS].into_iter().flat_map(circles));
}

#[test]
fn pure_rooms_touch_no_system_call() {
    none(impure(&KASE));
}

#[test]
fn unsafe_stands_only_in_the_kernels_room() {
    none(unsafe_words(&files()));
}

#[test]
fn no_file_is_too_long() {
    none(long(&files()));
}

#[test]
fn everything_has_a_word_that_is_known() {
    none(worded(&files()));
}

fn small(files: &Files<'_>) -> Crate {
    Crate::read("kase", "src/main.rs", files)
}

#[test]
fn a_forbidden_import_is_found_however_it_is_written() {
    let table = "main a b\n a b\n b";
    let of_b = |text: &str| {
        rooms(
            &small(&[("src/main.rs", "mod a; mod b;"), ("src/a.rs", "pub fn f() {}"), ("src/b.rs", text)]),
            table,
        )
    };
    none(of_b("fn g() { self::h() } fn h() {} #[cfg(test)] mod tests { use crate::a::f; }"));
    none(of_b("#[cfg(test)] use crate::a::f; // crate::a::f\nconst S: &str = \"crate::a::f\";"));
    for text in [
        "use crate::a::f;",
        "use crate::{a::{f as h}};",
        "use super::a;",
        "fn g() { crate::a::f() }",
        "fn g() { use crate::a; a::f() }",
        "fn g() { println!(\"{}\", crate::a::f()) }",
        "mod inner { use super::super::a::f; }",
        "fn g() { rootless::root::open() }",
    ] {
        let found = of_b(text);
        assert!(
            found.len() == 1 && found.first().unwrap().starts_with("src/b.rs:1: b may not import "),
            "{text}: {found:?}"
        );
    }
    // A name that a room hands on is that room's.
    let handed = [
        ("src/main.rs", "mod a; mod b; mod d;"),
        ("src/a.rs", "pub use crate::d::f;"),
        ("src/b.rs", "use crate::a::f;"),
        ("src/d.rs", "pub fn f() {}"),
    ];
    none(rooms(&small(&handed), "main\n a d\n b a\n d"));
    let unknown = rooms(&small(&[("src/main.rs", "mod c;"), ("src/c.rs", "")]), table);
    assert!(unknown.first().unwrap().starts_with("src/c.rs: this room is not in the table"), "{unknown:?}");
}

#[test]
fn a_circle_is_found_whatever_it_goes_through() {
    let of = |m: &str, a: &str, b: &str| {
        let files = [("src/main.rs", "mod m;"), ("src/m/mod.rs", m), ("src/m/a.rs", a), ("src/m/b.rs", b)];
        circles(&small(&files))
    };
    // Two files, directly.
    let found = of("mod a; mod b;", "use super::b::g; pub fn f() {}", "pub fn g() { super::a::f() }");
    assert_eq!(found, ["src/m/a.rs:1 names kase::m::b::g, src/m/b.rs:1 names kase::m::a::f"]);
    // By a name that the module above hands on, in a macro.
    let found =
        of("mod a; mod b; pub use b::g;", "use super::g; pub fn f() {}", "fn h() { assert!(super::a::f()) }");
    assert_eq!(found.len(), 1, "{found:?}");
    // The module above has something of its own for its part, which it uses.
    let above = "mod a; mod b; pub struct S; pub fn f() { a::f() }";
    assert_eq!(of(above, "use super::S; pub fn f() {}", "").len(), 1);
    assert_eq!(of(above, "use super::*; pub fn f() {}", "").len(), 1);
    let above = "mod a; mod b; pub use a::f; pub struct S; fn g() { f() }";
    assert_eq!(of(above, "use super::S; pub fn f() {}", "").len(), 1);
}

#[test]
fn no_circle_is_seen_where_there_is_none() {
    let of = |m: &str, a: &str, b: &str| {
        let files = [("src/main.rs", "mod m;"), ("src/m/mod.rs", m), ("src/m/a.rs", a), ("src/m/b.rs", b)];
        none(circles(&small(&files)));
    };
    // A module that only hands names on, and has something for all of its parts.
    of(
        "mod a; mod b; pub use a::f; pub struct S;",
        "use super::S; pub fn f() {}",
        "use super::a::f; use super::S;",
    );
    of("mod a; mod b; pub use a::f;", "use super::b::g; pub fn f() {}", "pub fn g() {}");
    // Tests, and the same name twice.
    of(
        "mod a; mod b;",
        "use super::b::g; pub fn f() {}",
        "pub fn g() {} #[cfg(test)] mod tests { use crate::m::a::f; }",
    );
    of("pub mod a; mod b; fn a() {}", "use super::b::g; pub fn f() {}", "use super::a; pub fn g() { a() }");
}

#[test]
fn what_is_impure_is_found_behind_its_names() {
    let of = |text: &str| {
        let kernel = "pub mod mount; pub fn retry() {}";
        let mount = "pub struct Flags; pub fn unmount() {} pub mod attribute { pub const RDONLY: u64 = 1; }";
        impure(&small(&[
            ("src/main.rs", "mod plan; mod kernel;"),
            ("src/plan.rs", text),
            ("src/kernel/mod.rs", kernel),
            ("src/kernel/mount.rs", mount),
        ]))
    };
    none(of(
        "use crate::kernel::mount::{Flags, attribute}; use std::path::Path; fn f() { attribute::RDONLY; libc::makedev(1, 2); let x: libc::c_int = libc::EPERM; }",
    ));
    for text in [
        "use std::fs;",
        "use std::{env, io};",
        "fn f() { std::time::Instant::now() }",
        "fn f() { libc::getpid() }",
        "use crate::kernel::mount; fn f() { mount::unmount() }",
        "use crate::kernel::retry as again;",
        "use nix::unistd::getpid;",
    ] {
        assert_eq!(of(text).len(), 1, "{text}");
    }
}

#[test]
fn unsafe_is_found_outside_of_the_kernels_room() {
    let found = unsafe_words(&[
        ("src/kernel/a.rs", "fn f() { unsafe { g() } }"),
        ("src/b.rs", "//! Not unsafe.\n#![deny(unsafe_op_in_unsafe_fn)]\nfn f() {\n unsafe { g() } }"),
        ("src/c.rs", "macro_rules! m { () => { unsafe { g() } } }"),
        ("tests/d.rs", "const S: &str = \"unsafe\"; #[cfg(test)] mod tests { unsafe fn f() {} }"),
        ("rootless/src/e.rs", "unsafe impl Send for S {}"),
    ]);
    let places: Vec<_> = found.iter().map(|text| text.split(": ").next().unwrap()).collect();
    assert_eq!(places, ["src/b.rs:4", "src/c.rs:1", "rootless/src/e.rs:1"]);
}

#[test]
fn long_files_and_private_words_are_found() {
    let text = "fn f() {}\n".repeat(LONGEST);
    let tested = format!("{text}#[cfg(test)]\nmod tests {{}}\n");
    none(long(&[
        ("src/a.rs", &text),
        ("src/b.rs", &tested),
        ("src/seccomp/table.rs", &format!("{text}{text}")),
    ]));
    assert_eq!(long(&[("src/a.rs", &format!("{text}\n"))]).len(), 1);
    let found = worded(&[
        ("src/a.rs", "// stubborn doorbell\n/// Is Born.\nlet doors = Midwife;"),
        ("tests/b.rs", "born"),
    ]);
    assert_eq!(found.len(), 2, "{found:?}");
}
