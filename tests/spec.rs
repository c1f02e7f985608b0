//! `spec` and `features`: what kase writes for others to read.

use crate::common::{Bundle, Kase, Value, is_ours, json, words};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

deeds! {
    spec_writes_the_usual_config,
    spec_writes_into_the_bundle_that_is_named,
    spec_never_overwrites,
    spec_rootless_maps_the_caller,
    a_written_config_runs,
    a_written_rootless_config_runs,
    features_is_json_with_what_the_spec_asks,
}

fn config(bundle: &Bundle) -> Value {
    serde_json::from_slice(&fs::read(bundle.path("config.json")).unwrap()).unwrap()
}

/// A bundle without a config.
fn bare(kase: &Kase) -> Bundle {
    let bundle = kase.bundle();
    fs::remove_file(bundle.path("config.json")).unwrap();
    bundle
}

fn spec_writes_the_usual_config(kase: &Kase) {
    let bundle = bare(kase);
    let mut command = kase.command(["spec"]);
    command.current_dir(bundle.dir());
    kase.finish(command).succeeded();
    let config = config(&bundle);
    assert_eq!(config["process"]["args"], json!(["sh"]));
    assert_eq!(config["process"]["terminal"], true);
    assert_eq!(config["process"]["noNewPrivileges"], true);
    assert_eq!(config["process"]["cwd"], "/");
    assert_eq!(config["root"], json!({"path": "rootfs", "readonly": true}));
    let kinds: Vec<&str> = namespaces(&config);
    assert_eq!(kinds[..5], ["pid", "network", "ipc", "uts", "mount"]);
    let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    assert_eq!(kinds[5..], ["cgroup"][usize::from(!v2)..]);
    let cgroup = config["mounts"].as_array().unwrap().iter().find(|mount| mount["type"] == "cgroup").unwrap();
    assert!(cgroup["options"].as_array().unwrap().contains(&json!("ro")), "{cgroup}");
    let mode = fs::metadata(bundle.path("config.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o022, 0, "{mode:o}");
}

fn namespaces(config: &Value) -> Vec<&str> {
    config["linux"]["namespaces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["type"].as_str().unwrap())
        .collect()
}

fn spec_writes_into_the_bundle_that_is_named(kase: &Kase) {
    for option in ["--bundle", "-b"] {
        let bundle = bare(kase);
        kase.call(words(["spec", option], bundle.dir(), [])).succeeded();
        assert_eq!(config(&bundle)["process"]["args"], json!(["sh"]));
    }
}

fn spec_never_overwrites(kase: &Kase) {
    let bundle = kase.bundle().config("precious");
    kase.call(words(["spec", "-b"], bundle.dir(), [])).refused(&["config.json"]);
    assert_eq!(fs::read_to_string(bundle.path("config.json")).unwrap(), "precious");
}

fn spec_rootless_maps_the_caller(kase: &Kase) {
    let bundle = bare(kase);
    kase.call(words(["spec", "--rootless", "-b"], bundle.dir(), [])).succeeded();
    let config = config(&bundle);
    let linux = &config["linux"];
    assert!(namespaces(&config).contains(&"user") && !namespaces(&config).contains(&"network"), "{linux}");
    assert_eq!(linux["uidMappings"][0], json!({"containerID": 0, "hostID": kase.identity.uid, "size": 1}));
    assert_eq!(linux["gidMappings"][0], json!({"containerID": 0, "hostID": kase.identity.gid, "size": 1}));
    assert!(linux.get("resources").is_none(), "{linux}");
    assert!(!config["mounts"].to_string().contains("gid=5"), "{config}");
}

/// Runs what `spec` wrote, with the probe in the shell's place.
fn run(kase: &Kase, bundle: Bundle) -> String {
    let mut config = config(&bundle);
    config["process"]["args"] = json!(["/probe", "hostname", "--", "caps", "--", "id"]);
    config["process"]["terminal"] = json!(false);
    config["process"]["env"].as_array_mut().unwrap().push(json!(kase.marker()));
    let bundle = bundle.config(&config.to_string());
    kase.run(&bundle).stdout().to_owned()
}

/// What a shell in the usual config finds.
fn is_usual(seen: &str) {
    assert!(seen.contains("CapEff: 0000000020000420\n") && seen.contains("NoNewPrivs: 1\n"), "{seen}");
    assert!(seen.contains("Uid: 0 0 0 0\n"), "{seen}");
}

fn a_written_config_runs(kase: &Kase) {
    if !is_ours() && !kase.is_root() {
        skip!("only kase runs root's config for an ordinary user");
    }
    let bundle = bare(kase);
    kase.call(words(["spec", "-b"], bundle.dir(), [])).succeeded();
    is_usual(&run(kase, bundle));
}

fn a_written_rootless_config_runs(kase: &Kase) {
    let bundle = bare(kase);
    kase.call(words(["spec", "--rootless", "-b"], bundle.dir(), [])).succeeded();
    is_usual(&run(kase, bundle));
}

fn features_is_json_with_what_the_spec_asks(kase: &Kase) {
    let features: Value = serde_json::from_str(kase.call(["features"]).stdout()).unwrap();
    assert!(features["ociVersionMin"].as_str().unwrap().starts_with("1."), "{features}");
    assert!(features["ociVersionMax"].as_str().unwrap().starts_with("1."), "{features}");
    for option in ["bind", "ro", "rro", "tmpcopyup", "nosuid", "rshared"] {
        assert!(
            features["mountOptions"].as_array().unwrap().contains(&json!(option)),
            "{option}: {features}"
        );
    }
    for kind in ["pid", "network", "mount", "ipc", "uts", "user", "cgroup"] {
        assert!(
            features["linux"]["namespaces"].as_array().unwrap().contains(&json!(kind)),
            "{kind}: {features}"
        );
    }
    assert!(features["linux"]["capabilities"].as_array().unwrap().contains(&json!("CAP_KILL")), "{features}");
}
