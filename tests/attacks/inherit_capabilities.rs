//! An image has a program whose file grants what its caller may inherit. Run as an ordinary user of the container, it
//! becomes mightier than that if the runtime hands capabilities down as inheritable (CVE-2022-29162, CVE-2022-27650,
//! CVE-2022-24769).

use crate::common::{Bundle, Kase, is_root, json};
use nix::sys::statvfs::{FsFlags, statvfs};
use std::fs;

deeds! { no_file_grants_what_was_not_asked_to_be_inheritable }

/// CAP_NET_RAW is number 13.
const NET_RAW: u32 = 1 << 13;
const GRANTED: &str = "0000000000002000";
const NONE: &str = "0000000000000000";

/// Gives the file the capability in its inheritable set, effective at once; capabilities(7), "File capability
/// extended attribute versioning". In a user namespace its root has to be named.
fn grant(kase: &Kase, bundle: &Bundle) {
    let (magic, root) =
        if kase.is_root() { (0x0200_0001, None) } else { (0x0300_0001, Some(kase.identity.uid)) };
    let words = [magic, 0, NET_RAW, 0, 0_u32].into_iter().chain(root);
    let value: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
    let file = bundle.rootfs("mighty");
    rustix::fs::setxattr(&file, "security.capability", &value, rustix::fs::XattrFlags::empty()).unwrap();
}

/// A container of an ordinary user's with the program, which has the capability in every set but one.
fn victim(kase: &Kase) -> Bundle {
    let capabilities = json!(["CAP_NET_RAW"]);
    let bundle = kase.bundle().edit(|spec| {
        spec["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        spec["process"]["noNewPrivileges"] = json!(false);
        spec["process"]["capabilities"] =
            json!({"bounding": capabilities, "permitted": capabilities, "effective": capabilities});
    });
    let bundle = bundle.program("mighty", &fs::read(crate::common::programs::probe()).unwrap());
    grant(kase, &bundle);
    bundle
}

fn no_file_grants_what_was_not_asked_to_be_inheritable(kase: &Kase) {
    if !is_root() {
        skip!("needs root to grant a file a capability");
    }
    if statvfs(&kase.path("")).unwrap().flags().contains(FsFlags::ST_NOSUID) {
        skip!("files grant nothing where the tests' directory lies");
    }
    let bundle = victim(kase);
    let container = kase.run_detached(&bundle.args(["/probe", "sleep"]));
    let process = kase.file(
        "process.json",
        &json!({"cwd": "/", "args": ["/mighty", "caps"], "user": {"uid": 1000, "gid": 1000},
                "capabilities": {"bounding": ["CAP_NET_RAW"], "permitted": ["CAP_NET_RAW"],
                                 "effective": ["CAP_NET_RAW"]}})
        .to_string(),
    );
    let exec = |options: &[&str], program: &[&str]| {
        let id = [container.id.as_str()];
        let words = ["exec"].iter().chain(options).chain(&id).chain(program);
        kase.call(words)
    };
    let mighty = ["/mighty", "caps"];
    for (how, outcome) in [
        ("run", kase.run(&victim(kase).args(["/mighty", "caps"]))),
        ("exec", exec(&[], &mighty)),
        ("exec --cap", exec(&["--cap", "CAP_NET_RAW"], &mighty)),
        ("exec --cap --user", exec(&["--cap", "net_raw", "--user", "1000:1000"], &mighty)),
        ("exec --process", exec(&["--process", process.to_str().unwrap()], &[])),
    ] {
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert!(outcome.stdout().contains(&format!("{set}: {NONE}\n")), "{how}: {outcome}");
        }
        // What it could have had.
        assert!(outcome.stdout().contains(&format!("CapBnd: {GRANTED}\n")), "{how}: {outcome}");
    }
    // As root it has its capabilities, and hands nothing down.
    let root = exec(&["--cap", "CAP_NET_RAW", "--user", "0"], &["/probe", "caps"]);
    assert!(root.stdout().contains(&format!("CapInh: {NONE}\nCapPrm: {GRANTED}\n")), "{root}");
    // Nor does the configuration that kase itself writes.
    let mut spec = kase.command(["spec"]);
    spec.current_dir(kase.directory("spec"));
    kase.finish(spec).succeeded();
    let written = fs::read_to_string(kase.path("spec/config.json")).unwrap();
    assert!(written.contains("\"permitted\"") && !written.contains("inheritable"), "{written}");
    control(kase);
}

/// The same, with the capability handed down as those runtimes did.
fn control(kase: &Kase) {
    let bundle = victim(kase).args(["/mighty", "caps"]).edit(|spec| {
        spec["process"]["capabilities"]["inheritable"] = json!(["CAP_NET_RAW"]);
    });
    let outcome = kase.run(&bundle);
    for set in ["CapInh", "CapPrm", "CapEff"] {
        assert!(
            outcome.stdout().contains(&format!("{set}: {GRANTED}\n")),
            "the attack works on nobody: {outcome}"
        );
    }
}
