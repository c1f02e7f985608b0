use super::*;
use serde_json::{Value, json};

/// What `kase spec` writes, with a filter: nothing is to be said of it.
fn good() -> Value {
    json!({
        "ociVersion": "1.3.0",
        "process": {
            "user": {"uid": 0, "gid": 0}, "args": ["sh"], "cwd": "/", "noNewPrivileges": true,
            "capabilities": {"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"]},
        },
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "size=64k"]},
        ],
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
            "maskedPaths": ["/proc/kcore", "/proc/keys"],
            "readonlyPaths": ["/proc/sys", "/proc/sysrq-trigger"],
            "seccomp": {"defaultAction": "SCMP_ACT_ALLOW"},
        },
    })
}

fn add(list: &mut Value, element: Value) {
    list.as_array_mut().unwrap().push(element);
}

/// What is said after a change, as `error place: what (remedy)`, with the place's line.
fn said(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut config = good();
    change(&mut config);
    let text = format!("{config:#}");
    let line = |finding: &Finding| {
        let shown = text.lines().nth(finding.line - 1).unwrap_or_default();
        assert!(finding.column <= shown.chars().count() + 1, "{finding:?} in {shown}");
        format!(
            "{:?} {}: {} ({})",
            finding.level,
            finding.place,
            finding.what,
            finding.remedy.as_deref().unwrap_or("")
        )
    };
    lint(text.as_bytes()).iter().map(line).collect()
}

fn one(change: impl FnOnce(&mut Value)) -> String {
    let said = said(change);
    assert_eq!(said.len(), 1, "{said:#?}");
    said.into_iter().next().unwrap()
}

#[test]
fn of_a_good_config_nothing_is_said() {
    assert_eq!(said(|_| {}), [] as [&str; 0]);
}

#[test]
fn a_field_that_nobody_reads_is_told_with_what_was_meant() {
    let slip = one(|config| config["process"]["evn"] = json!([]));
    assert_eq!(slip, "Error process.evn: the specification has no such field (did you mean env?)");
    let place = one(|config| config["maskedPaths"] = json!([]));
    assert!(place.ends_with("(did you mean linux.maskedPaths? The field belongs there)"), "{place}");
    let deep = one(|config| config["mounts"][1]["option"] = json!([]));
    assert!(
        deep.starts_with("Error mounts[1].option: ") && deep.ends_with("(did you mean options?)"),
        "{deep}"
    );
    assert_eq!(said(|config| config["annotations"] = json!({"my.own": "x"})), [] as [&str; 0]);
}

#[test]
fn a_place_is_a_line_and_a_column() {
    let text =
        "{\n  \"ociVersion\": \"1.3.0\",\n  \"proces\": {},\n  \"linux\": {}, \"root\": {\"path\": \"r\"}\n}";
    let finding = lint(text.as_bytes()).into_iter().find(|finding| finding.place == "proces").unwrap();
    assert_eq!((finding.line, finding.column), (3, 3));
}

#[test]
fn words_that_the_kernel_does_not_know_are_told() {
    let capability =
        one(|config| add(&mut config["process"]["capabilities"]["bounding"], json!("CAP_NET_AMDIN")));
    assert!(capability.ends_with("there is no capability CAP_NET_AMDIN (did you mean CAP_NET_ADMIN?)"));
    let call = one(|config| {
        config["linux"]["seccomp"]["syscalls"] =
            json!([{"names": ["mkdir", "opneat"], "action": "SCMP_ACT_ERRNO"}]);
    });
    assert!(
        call.starts_with("Warning linux.seccomp.syscalls[0].names[1]: ") && call.contains("openat"),
        "{call}"
    );
    let option = one(|config| config["mounts"][1]["options"][0] = json!("nosiud"));
    assert_eq!(option, "Error mounts[1].options[0]: there is no mount option nosiud (did you mean nosuid?)");
    let own = one(|config| config["mounts"][1]["options"][0] = json!("lowerdir=/x"));
    assert!(own.contains("tmpfs has no option lowerdir"), "{own}");
    let bind = one(|config| {
        add(
            &mut config["mounts"],
            json!({"destination": "/a", "source": "/a", "options": ["bind", "size=1"]}),
        );
    });
    assert!(bind.starts_with("Warning mounts[2].options[1]: size=1 has no effect"), "{bind}");
}

#[test]
fn a_masked_path_that_is_misspelt_is_told() {
    let path = one(|config| config["linux"]["maskedPaths"][1] = json!("/proc/kyes"));
    assert!(path.starts_with("Error linux.maskedPaths[1]: ") && path.ends_with("(did you mean /proc/keys?)"));
    assert_eq!(said(|config| add(&mut config["linux"]["maskedPaths"], json!("/proc/stat"))), [] as [&str; 0]);
    assert_eq!(
        said(|config| add(&mut config["linux"]["maskedPaths"], json!("/sys/firmware/efi"))),
        [] as [&str; 0]
    );
}

#[test]
fn what_planning_refuses_is_told_in_its_words() {
    let cwd = one(|config| config["process"]["cwd"] = json!("tmp"));
    assert!(cwd.starts_with("Error process.cwd: \"tmp\" is not an absolute path"), "{cwd}");
    let hostname = one(|config| {
        config["hostname"] = json!("x");
        config["linux"]["namespaces"].as_array_mut().unwrap().remove(3);
    });
    assert!(hostname.starts_with("Error hostname: the container has no uts namespace"), "{hostname}");
    let parameter = one(|config| config["linux"]["sysctl"] = json!({"kernel.panic": "1"}));
    assert!(parameter.starts_with("Error linux.sysctl[\"kernel.panic\"]: "), "{parameter}");
}

#[test]
fn ids_that_are_not_mapped_are_told_each_once() {
    let said = said(|config| {
        add(&mut config["linux"]["namespaces"], json!({"type": "user"}));
        for maps in ["uidMappings", "gidMappings"] {
            config["linux"][maps] = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
        }
        config["process"]["user"] = json!({"uid": 33, "gid": 10});
        config["mounts"][1]["options"] = json!(["uid=9", "gid=44"]);
    });
    let places: Vec<&str> = said.iter().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(
        places,
        ["Error mounts[1].options[1]", "Error process.user.gid", "Error process.user.uid"],
        "{said:#?}"
    );
}

#[test]
fn contradictions_are_told() {
    let set = one(|config| config["process"]["capabilities"]["permitted"] = json!([]));
    assert!(set.contains("CAP_KILL has no effect here, since it is not in permitted"), "{set}");
    let both = one(|config| config["mounts"][1]["options"] = json!(["ro", "rw"]));
    assert!(both.contains("both ro and rw"), "{both}");
    let covered = one(|config| {
        add(&mut config["mounts"], json!({"destination": "/tmp/a", "type": "tmpfs", "source": "t"}));
        add(&mut config["mounts"], json!({"destination": "/tmp", "type": "tmpfs", "source": "t"}));
        config["mounts"][1]["destination"] = json!("/b");
    });
    assert!(covered.starts_with("Warning mounts[3].destination: covers mounts[2]"), "{covered}");
    let size = one(|config| config["process"]["consoleSize"] = json!({"height": 1, "width": 1}));
    assert!(size.contains("no effect without a terminal"));
    let memory =
        one(|config| config["linux"]["resources"] = json!({"memory": {"limit": 10, "reservation": 20}}));
    assert!(memory.starts_with("Warning linux.resources.memory.reservation"), "{memory}");
}

#[test]
fn what_leaves_a_container_open_is_told() {
    type Change = fn(&mut Value);
    let remove = |value: &mut Value, name: &str| drop(value.as_object_mut().unwrap().remove(name));
    let cases: [(&str, Change); 9] = [
        ("Warning linux.maskedPaths: does not hide /proc/kcore", |c| {
            c["linux"]["maskedPaths"] = json!(["/proc/keys"]);
        }),
        ("Warning linux.maskedPaths: hides nothing", |c| c["linux"]["maskedPaths"] = json!([])),
        ("Warning linux.readonlyPaths: /proc/sys can be written", |c| {
            c["linux"]["readonlyPaths"] = json!(["/proc/sysrq-trigger"]);
        }),
        ("Warning process.noNewPrivileges: is not true", |c| c["process"]["noNewPrivileges"] = json!(false)),
        ("Warning linux.namespaces: there is no pid namespace", |c| {
            c["linux"]["namespaces"].as_array_mut().unwrap().remove(0);
        }),
        ("Warning process.capabilities.bounding[1]: CAP_SYS_ADMIN without a user namespace", |c| {
            add(&mut c["process"]["capabilities"]["bounding"], json!("CAP_SYS_ADMIN"));
        }),
        ("Warning mounts[2].source: whoever speaks to that socket", |c| {
            add(
                &mut c["mounts"],
                json!({"destination": "/s", "source": "/run/docker.sock", "options": ["bind"]}),
            );
        }),
        ("Warning mounts[2]: is writable, and without a cgroup namespace", |c| {
            add(
                &mut c["mounts"],
                json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}),
            );
        }),
        ("Warning linux.resources.devices[0]: allows every device", |c| {
            c["linux"]["resources"] = json!({"devices": [{"allow": true, "access": "rwm"}]});
        }),
    ];
    for (expected, change) in cases {
        let said = one(change);
        assert!(said.starts_with(expected), "{said}");
    }
    let open = one(|config| remove(&mut config["linux"], "seccomp"));
    assert!(open.starts_with("Warning linux.seccomp: is not set"), "{open}");
}

#[test]
fn broken_json_and_wrong_types_have_a_place() {
    let broken = lint(b"{\n  \"ociVersion\": \"1.0.0\"\n  \"root\": {}\n}");
    assert_eq!((broken.len(), broken[0].line, broken[0].column, broken[0].level), (1, 3, 3, Level::Error));
    let empty = lint(b"");
    assert_eq!((empty.len(), empty[0].line, empty[0].column), (1, 1, 1));
    let wrong = one(|config| config["process"]["args"] = json!("sh"));
    assert!(wrong.starts_with("Error process.args: invalid type"), "{wrong}");
}

#[test]
fn a_name_that_stands_twice_is_told() {
    let text = format!("{:#}", good()).replacen(
        "\"mounts\"",
        "\"annotations\": {\"a\": \"1\", \"a\": \"2\"}, \"mounts\"",
        1,
    );
    let said = lint(text.as_bytes());
    assert_eq!((said.len(), said[0].place.as_str()), (1, "annotations[\"a\"]"), "{said:?}");
}

#[test]
fn strict_refuses_the_first_error_and_counts_the_rest() {
    let mut config = good();
    assert!(strict(config.to_string().as_bytes()).is_ok());
    config["process"]["noNewPrivileges"] = json!(false);
    assert!(strict(config.to_string().as_bytes()).is_ok(), "a warning stops nothing");
    config["process"]["evn"] = json!(1);
    config["linux"]["masks"] = json!(1);
    let fault = strict(config.to_string().as_bytes()).unwrap_err().to_string();
    assert!(fault.contains("and 1 more: kase lint lists them"), "{fault}");
}

/// Every place of a config, as a JSON pointer.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_string());
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(name, value)| pointers(value, &format!("{at}/{name}"), found));
        }
        Value::Array(list) => {
            list.iter()
                .enumerate()
                .for_each(|(index, value)| pointers(value, &format!("{at}/{index}"), found));
        }
        _ => {}
    }
}

#[test]
fn whatever_stands_wherever_is_told_and_nothing_more() {
    let mut full = good();
    add(&mut full["linux"]["namespaces"], json!({"type": "user"}));
    for maps in ["uidMappings", "gidMappings"] {
        full["linux"][maps] = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
    }
    full["linux"]["devices"] = json!([{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "uid": 1}]);
    full["linux"]["resources"] =
        json!({"memory": {"limit": 5, "reservation": 4}, "devices": [{"allow": true}]});
    let mut places = Vec::new();
    pointers(&full, "", &mut places);
    let odd = json!([null, true, 0, -1, u64::MAX, i64::MIN, 4294967295_u32, 0.5, "", "\u{0}", "ü/..", [], {}, [[]], {"": 1}]);
    for place in &places {
        for value in odd.as_array().unwrap() {
            let mut config = full.clone();
            *config.pointer_mut(place).unwrap() = value.clone();
            let text = format!("{config:#}");
            for finding in lint(text.as_bytes()) {
                let line = text.lines().nth(finding.line - 1).unwrap();
                assert!(finding.column <= line.chars().count() + 1, "{place} = {value}: {finding:?}");
            }
        }
    }
}

#[test]
fn ten_times_as_much_takes_about_ten_times_as_long() {
    let text = |count: usize| {
        let list = |one: &dyn Fn(usize) -> String| (0..count).map(one).collect::<Vec<_>>().join(",");
        format!(
            r#"{{"ociVersion": "1.2.0", "annotations": {{{}}}, "mounts": [{}]}}"#,
            list(&|number| format!(r#""k{number}": """#)),
            list(&|number| format!(r#"{{"destination": "/m{number}"}}"#)),
        )
    };
    let taken = |text: &str| {
        let before = std::time::Instant::now();
        assert!(!lint(text.as_bytes()).is_empty());
        before.elapsed().as_secs_f64()
    };
    let (few, many) = (text(1_000), text(10_000));
    let least = |text: &str| (0..2).map(|_| taken(text)).fold(f64::INFINITY, f64::min);
    let (few, many) = (least(&few), least(&many));
    assert!(many < few * 40.0, "{few} s and {many} s");
}
