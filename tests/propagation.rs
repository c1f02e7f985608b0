//! What is mounted on one side of a tied mount shows on the other, and nothing else of a container does.

use crate::common::{Kase, Outcome, Surroundings, json};
use std::fs;

deeds! {
    a_shared_source_passes_mounts_on_both_ways,
    a_slave_source_of_a_shared_root_takes_mounts_of_the_hosts,
    a_private_source_of_a_shared_root_takes_none,
}

/// Waits for what the host does, says what it saw of it, and mounts something itself.
const CONTAINER: &str = "
    /busybox touch /v/ready
    until [ -e /v/go ]; do /busybox usleep 20000; done
    echo \"inside: $(/busybox ls /v/in)\"
    /busybox mount -t tmpfs tmpfs /v/out && /busybox touch /v/out/from-inside
    /busybox touch /v/done
    until [ -e /v/end ]; do /busybox usleep 20000; done";

/// What becomes of that on a host where everything is shared, as systemd makes it: the mount points of the rootfs are
/// counted while the container runs, and after it.
const HOST: &str = "
    soon() { n=0; until [ -e \"$1\" ] || [ $n = 300 ]; do sleep 0.02; n=$((n + 1)); done; }
    mounts() { grep -c /bundle- /proc/self/mountinfo || :; }
    as \"$@\" & soon v/ready
    mount -t tmpfs tmpfs v/in; touch v/in/from-host v/go
    soon v/done
    echo \"outside: $(ls v/out)\"; echo \"mounts: $(mounts)\"
    touch v/end; wait $!; echo \"code: $?\"; echo \"mounts: $(mounts)\"";

fn run(kase: &Kase, options: &[&str]) -> Option<Outcome> {
    let busybox = fs::read("/usr/bin/busybox").or_else(|_| fs::read("/bin/busybox")).ok()?;
    kase.directory("v");
    let before =
        "mount --make-rshared / && mount -t tmpfs tmpfs v && mount --make-shared v && mkdir v/in v/out";
    let host = match kase.is_root() {
        true => Surroundings::mounts(kase, before),
        false => Surroundings::user_namespace(kase, before),
    };
    let bundle = kase.bundle().program("busybox", &busybox).args(["/busybox", "sh", "-c", CONTAINER]);
    let source = kase.path("v");
    let bundle =
        bundle.mount(json!({"destination": "/v", "source": source, "options": options})).edit(|spec| {
            spec["linux"]["rootfsPropagation"] = json!("shared");
            for set in ["bounding", "effective", "permitted"] {
                spec["process"]["capabilities"][set] = json!(["CAP_SYS_ADMIN"]);
            }
        });
    let words = ["run", "-b", bundle.dir().to_str().unwrap(), &kase.id()];
    Some(host.run(HOST, &kase.command(words)))
}

/// What the container saw of the host's mount, what the host saw of the container's, and nothing of the rootfs.
fn passes(kase: &Kase, options: &[&str], inwards: &str, outwards: &str) {
    let Some(outcome) = run(kase, options) else { skip!("needs a static busybox") };
    for line in [&format!("inside: {inwards}"), &format!("outside: {outwards}"), "code: 0"] {
        assert!(outcome.stdout().lines().any(|one| one.trim_end() == line.trim_end()), "{line}: {outcome}");
    }
    assert_eq!(outcome.stdout().matches("mounts: 0\n").count(), 2, "{outcome}");
}

fn a_shared_source_passes_mounts_on_both_ways(kase: &Kase) {
    passes(kase, &["rbind", "rshared"], "from-host", "from-inside");
}

fn a_slave_source_of_a_shared_root_takes_mounts_of_the_hosts(kase: &Kase) {
    passes(kase, &["rbind", "rslave"], "from-host", "");
}

fn a_private_source_of_a_shared_root_takes_none(kase: &Kase) {
    passes(kase, &["rbind", "rprivate"], "", "");
}
