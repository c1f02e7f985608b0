//! What `features` says: its shape is the specification's, and what it says is true.

use crate::common::{Kase, Value, is_ours, json};

deeds! {
    the_shape_is_the_specifications,
    words_are_known_ones_and_sorted_out,
    everything_that_is_said_is_known_to_create,
    the_kernels_flags_are_among_those_known,
}

fn features(kase: &Kase) -> Value {
    serde_json::from_str(kase.call(["features"]).stdout()).unwrap()
}

/// What stands at one place of the structure.
enum Shape {
    Text,
    Truth,
    /// A list of words, each of which the function takes.
    Words(fn(&str) -> bool),
    Fields(&'static [(&'static str, Shape)]),
    /// Any keys, with text as values.
    Annotations,
}

/// features.md and features-linux.md of version 1.3.
const FEATURES: Shape = Shape::Fields(&[
    ("ociVersionMin", Shape::Text),
    ("ociVersionMax", Shape::Text),
    ("hooks", Shape::Words(|word| !word.is_empty())),
    ("mountOptions", Shape::Words(|word| !word.is_empty())),
    ("annotations", Shape::Annotations),
    ("potentiallyUnsafeConfigAnnotations", Shape::Words(|word| !word.is_empty())),
    ("linux", LINUX),
]);

const LINUX: Shape = Shape::Fields(&[
    ("namespaces", Shape::Words(|word| NAMESPACES.contains(&word))),
    ("capabilities", Shape::Words(is_capability)),
    (
        "cgroup",
        Shape::Fields(&[
            ("v1", Shape::Truth),
            ("v2", Shape::Truth),
            ("systemd", Shape::Truth),
            ("systemdUser", Shape::Truth),
            ("rdma", Shape::Truth),
        ]),
    ),
    (
        "seccomp",
        Shape::Fields(&[
            ("enabled", Shape::Truth),
            ("actions", Shape::Words(|word| word.starts_with("SCMP_ACT_"))),
            ("operators", Shape::Words(|word| word.starts_with("SCMP_CMP_"))),
            ("archs", Shape::Words(|word| word.starts_with("SCMP_ARCH_"))),
            ("knownFlags", Shape::Words(|word| word.starts_with("SECCOMP_FILTER_FLAG_"))),
            ("supportedFlags", Shape::Words(|word| word.starts_with("SECCOMP_FILTER_FLAG_"))),
        ]),
    ),
    ("apparmor", ENABLED),
    ("selinux", ENABLED),
    (
        "intelRdt",
        Shape::Fields(&[("enabled", Shape::Truth), ("schemata", Shape::Truth), ("monitoring", Shape::Truth)]),
    ),
    (
        "memoryPolicy",
        Shape::Fields(&[
            ("modes", Shape::Words(|word| word.starts_with("MPOL_"))),
            ("flags", Shape::Words(|word| word.starts_with("MPOL_F_"))),
        ]),
    ),
    ("mountExtensions", Shape::Fields(&[("idmap", ENABLED)])),
    ("netDevices", ENABLED),
]);

const ENABLED: Shape = Shape::Fields(&[("enabled", Shape::Truth)]);
const NAMESPACES: [&str; 8] = ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"];

fn is_capability(word: &str) -> bool {
    word.strip_prefix("CAP_").is_some_and(|rest| {
        !rest.is_empty() && rest.chars().all(|character| character.is_ascii_uppercase() || character == '_')
    })
}

fn check(at: &str, value: &Value, shape: &Shape) {
    match shape {
        Shape::Text => assert!(value.is_string(), "{at}: {value}"),
        Shape::Truth => assert!(value.is_boolean(), "{at}: {value}"),
        Shape::Words(known) => {
            let list = value.as_array().unwrap_or_else(|| panic!("{at}: {value}"));
            assert!(list.iter().all(|word| word.as_str().is_some_and(known)), "{at}: {value}");
        }
        Shape::Annotations => {
            let fields = value.as_object().unwrap_or_else(|| panic!("{at}: {value}"));
            assert!(fields.iter().all(|(key, value)| !key.is_empty() && value.is_string()), "{at}: {value}");
        }
        Shape::Fields(known) => {
            for (name, value) in value.as_object().unwrap_or_else(|| panic!("{at}: {value}")) {
                let shape = known.iter().find(|(known, _)| known == name);
                let (_, shape) = shape.unwrap_or_else(|| panic!("{at}: {name} is not in the specification"));
                check(&format!("{at}.{name}"), value, shape);
            }
        }
    }
}

fn the_shape_is_the_specifications(kase: &Kase) {
    let features = features(kase);
    check("features", &features, &FEATURES);
    for field in ["ociVersionMin", "ociVersionMax"] {
        let version: Vec<u32> =
            features[field].as_str().unwrap().split('.').map(|part| part.parse().unwrap()).collect();
        assert!(version.len() == 3 && version[0] == 1, "{features}");
    }
}

fn words_are_known_ones_and_sorted_out(kase: &Kase) {
    let features = features(kase);
    let mut lists = vec![&features["hooks"], &features["mountOptions"], &features["linux"]["namespaces"]];
    lists.push(&features["linux"]["capabilities"]);
    let seccomp = features["linux"]["seccomp"].as_object().unwrap();
    lists.extend(seccomp.values().filter(|value| value.is_array()));
    for list in lists {
        let mut words: Vec<&str> =
            list.as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        let count = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), count, "each word once: {list}");
    }
    assert_eq!(features["hooks"].as_array().unwrap().len(), 6);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap();
    let known = features["linux"]["capabilities"].as_array().unwrap().len();
    assert!(known <= kernel.trim().parse::<usize>().unwrap() + 1, "{features}");
}

fn everything_that_is_said_is_known_to_create(kase: &Kase) {
    if !is_ours() {
        skip!("other runtimes are not held to what they say");
    }
    let features = features(kase);
    let linux = &features["linux"];
    // Those of the other order of bytes are known too, and refused by name.
    let mut archs = linux["seccomp"]["archs"].clone();
    let big = ["_MIPS", "_MIPS64", "_MIPS64N32", "_PPC", "_PPC64", "_S390", "_S390X"];
    archs.as_array_mut().unwrap().retain(|arch| {
        cfg!(target_endian = "little") != big.iter().any(|name| arch.as_str().unwrap().ends_with(name))
    });
    let bundle = kase.bundle().edit(|spec| {
        for set in ["bounding", "permitted", "effective"] {
            spec["process"]["capabilities"][set] = linux["capabilities"].clone();
        }
        spec["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": archs,
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        });
    });
    let outcome = kase.run(&bundle);
    outcome.succeeded();
    // What root here has not itself is left out by kase, and said.
    assert!(!outcome.err.contains("unknown to kase"), "{outcome}");
}

fn the_kernels_flags_are_among_those_known(kase: &Kase) {
    let features = features(kase);
    let known = features["linux"]["seccomp"]["knownFlags"].as_array().unwrap();
    let supported = features["linux"]["seccomp"]["supportedFlags"].as_array().unwrap();
    assert!(supported.iter().all(|flag| known.contains(flag)), "{features}");
    // Linux 5.3, which kase needs anyway, has these.
    for flag in ["LOG", "SPEC_ALLOW", "TSYNC"] {
        assert!(supported.contains(&json!(format!("SECCOMP_FILTER_FLAG_{flag}"))), "{features}");
    }
}
