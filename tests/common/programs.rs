//! The programs of the tests: the runtime and the payload, where every caller can read them, and the tool that lets
//! system calls fail.

use super::is_root;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The runtime under test: `KASE`, or bin/kase of the checkout.
pub fn kase() -> &'static Path {
    static KASE: OnceLock<PathBuf> = OnceLock::new();
    KASE.get_or_init(|| {
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = std::env::var_os("KASE").map_or_else(|| checkout.join("bin/kase"), PathBuf::from);
        within_reach(&path, "make build/kase")
    })
}

/// The payload of the containers: `PROBE`, or the one that cargo built last.
pub fn probe() -> &'static Path {
    static PROBE: OnceLock<PathBuf> = OnceLock::new();
    PROBE.get_or_init(|| {
        let path = std::env::var_os("PROBE").map_or_else(|| built("probe"), PathBuf::from);
        within_reach(&path, "cargo build --release -p probe")
    })
}

/// The tool that lets system calls fail: `INJECT`, or the one that cargo built last.
pub fn inject() -> &'static Path {
    static INJECT: OnceLock<PathBuf> = OnceLock::new();
    INJECT.get_or_init(|| {
        let path = std::env::var_os("INJECT").map_or_else(|| built("inject"), PathBuf::from);
        within_reach(&path, "cargo build --release -p inject")
    })
}

/// This test program is `TARGET/PROFILE/deps/all-…`; the other programs lie in `TARGET/release`.
fn built(name: &str) -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let target = program.ancestors().nth(3).unwrap();
    target.join("release").join(name)
}

/// The program itself where every user can run it, else a copy in the temporary directory: a checkout
/// under /root is closed to the test users.
fn within_reach(path: &Path, remedy: &str) -> PathBuf {
    let path = path.canonicalize().unwrap_or_else(|error| panic!("{}: {error}: {remedy}", path.display()));
    if !is_root() || path.ancestors().skip(1).all(is_open_to_all) {
        return path;
    }
    let directory = std::env::temp_dir().join(format!("kase-programs-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
    let copy = directory.join(path.file_name().unwrap());
    copy_to(&path, &copy);
    copy
}

/// Copies a program. Another process writes it: of ours, a child that some other test is just forking would hold it
/// open for writing, and it could not be executed (ETXTBSY).
pub fn copy_to(program: &Path, copy: &Path) {
    let copied = Command::new("cp").arg(program).arg(copy).status().unwrap();
    assert!(copied.success(), "cp {} {}", program.display(), copy.display());
}

fn is_open_to_all(directory: &Path) -> bool {
    fs::metadata(directory).is_ok_and(|data| data.permissions().mode() & 0o001 != 0)
}
