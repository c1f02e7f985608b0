//! What a filter costs, beside libseccomp's for the same profile in the same run: instructions, time to
//! compile, time to go in, and time of calls under it.
//!
//! `scripts/bench-seccomp` runs it. Needs libseccomp-dev, and no privileges.

#[allow(dead_code)]
#[path = "libseccomp.rs"]
mod libseccomp;
#[allow(dead_code, unused_imports)]
#[path = "../../src/seccomp/mod.rs"]
mod seccomp;

use libseccomp::Layout;
use oci_spec::runtime::LinuxSeccomp;
use seccomp::{Arch, FLAG_SPEC_ALLOW, Instruction};
use std::io::{Read, Write};
use std::time::Instant;

/// Each figure is the median of this many, taken in turns so that the machine's moods hit all alike.
const ROUNDS: usize = 101;
const CALLS: u32 = 20_000;

/// Microseconds to go in; nanoseconds of a getpid and of a call whose arguments are looked at.
#[derive(Clone, Copy)]
struct Cost {
    install: f64,
    getpid: f64,
    checked: f64,
}

fn main() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/seccomp/profiles");
    println!("profile, compiler         instructions  compile µs  install µs  getpid ns  checked ns");
    let only: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("the profiles lie in the repository")
        .map(|entry| entry.expect("the folder is readable").path())
        .collect();
    paths.sort();
    for path in paths {
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        if !only.is_empty() && !only.contains(&name) {
            continue;
        }
        let text = std::fs::read(&path).expect("the profile is readable");
        bench(&name, &serde_json::from_slice(&text).expect("the profile is one"));
    }
}

fn bench(name: &str, profile: &LinuxSeccomp) {
    let native = Arch::native().expect("the bench runs where there is a table");
    let theirs = |layout| libseccomp::compile(profile, layout).expect("libseccomp takes the profile");
    let ours = || seccomp::compile(profile, native).expect("kase takes the profile").instructions;
    let programs = [ours(), theirs(Layout::Linear), theirs(Layout::Tree), vec![ALLOW_ALL]];
    let compile = [
        microseconds(ROUNDS, || drop(ours())),
        microseconds(3, || drop(theirs(Layout::Linear))),
        microseconds(3, || drop(theirs(Layout::Tree))),
        0.0,
    ];
    let mut costs = [const { Vec::new() }; 4];
    for _ in 0..ROUNDS {
        for (program, costs) in programs.iter().zip(&mut costs) {
            costs.push(in_a_child(program));
        }
    }
    let compilers = ["kase", "libseccomp", "libseccomp, optimize=2", "(allow everything)"];
    for at in 0..compilers.len() {
        let figure = |pick: fn(&Cost) -> f64| median(costs[at].iter().map(pick).collect());
        println!(
            "{:<14} {:<23} {:>4}  {:>10.1}  {:>10.1}  {:>9.1}  {:>10.1}",
            name,
            compilers[at],
            programs[at].len(),
            compile[at],
            figure(|cost| cost.install),
            figure(|cost| cost.getpid),
            figure(|cost| cost.checked),
        );
    }
    let install = |at: usize| median(costs[at].iter().map(|cost| cost.install).collect());
    println!("{name}: installing costs {:.2} of libseccomp's default", install(0) / install(1));
}

const ALLOW_ALL: Instruction = Instruction { code: 0x06, jt: 0, jf: 0, k: 0x7fff_0000 };

/// Install a program in a child, since none can be taken out again.
fn in_a_child(program: &[Instruction]) -> Cost {
    let (mut reader, mut writer) = std::io::pipe().expect("a pipe can be made");
    // SAFETY: this process has one thread, so its copy may do anything.
    match unsafe { libc::fork() } {
        0 => {
            let cost = measure(program);
            let figures = [cost.install, cost.getpid, cost.checked];
            let bytes: Vec<u8> = figures.iter().flat_map(|figure| figure.to_ne_bytes()).collect();
            let written = writer.write_all(&bytes);
            // SAFETY: takes a plain number.
            unsafe { libc::_exit(i32::from(written.is_err())) }
        }
        child => {
            drop(writer);
            let mut bytes = [0; 24];
            let read = reader.read_exact(&mut bytes);
            // SAFETY: the child is our own, and nothing is to be written.
            unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
            read.expect("the filter lets the child write and exit");
            let figure = |at: usize| {
                let mut word = [0; 8];
                word.copy_from_slice(&bytes[at * 8..at * 8 + 8]);
                f64::from_ne_bytes(word)
            };
            Cost { install: figure(0), getpid: figure(1), checked: figure(2) }
        }
    }
}

fn measure(program: &[Instruction]) -> Cost {
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: plain numbers.
    unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    let start = Instant::now();
    // SAFETY: the program outlives the call, and its instructions are laid out as sock_filter is.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::c_ulong::from(FLAG_SPEC_ALLOW),
            &raw const filter,
        )
    };
    let install = start.elapsed().as_secs_f64() * 1e6;
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    let each = |call: &dyn Fn()| {
        let start = Instant::now();
        (0..CALLS).for_each(|_| call());
        start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
    };
    // SAFETY: no argument.
    let getpid = each(&|| unsafe {
        libc::syscall(libc::SYS_getpid);
    });
    // 0xffffffff asks for the personality and changes nothing; every engine's profile looks at it.
    // SAFETY: a plain number.
    let checked = each(&|| unsafe {
        libc::syscall(libc::SYS_personality, 0xffff_ffff_u64);
    });
    Cost { install, getpid, checked }
}

fn microseconds(times: usize, work: impl Fn()) -> f64 {
    let once = |_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64() * 1e6
    };
    median((0..times).map(once).collect())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
