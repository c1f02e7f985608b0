//! Every field of config.json for Linux: that each has a test which shows it working and one which shows it
//! refused, and that none is missing from the [table](fields/table.md) that says so.
//!
//! ```text
//!  table.md ──┬── the fields of kase's own types       recorder
//!             ├── the specification's JSON schema      schema, where RUNTIME_SPEC names a checkout
//!             ├── the tests that it names              this program's --list
//!             └── bad values for each, and refused     bad
//! ```

mod bad;
#[allow(dead_code)]
#[path = "../src/config.rs"]
mod config;
mod limits;
mod recorder;
mod schema;
mod table;
mod values;

use crate::common::{Kase, Value, is_ours, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use table::Field;

deeds! { what_is_left_out_is_told }

/// A field that no kernel can do anything with, but that does no harm, gets a line.
fn what_is_left_out_is_told(kase: &Kase) {
    if !is_ours() {
        skip!("other runtimes say nothing");
    }
    let memory = |field: &str, value: Value| {
        kase.bundle().edit(|spec| spec["linux"]["resources"]["memory"] = json!({ field: value }))
    };
    let options = json!(["bind", "size=64k"]);
    let bind = json!({"destination": "/mnt", "type": "bind", "source": "/etc", "options": options});
    let bind = kase.bundle().mount(bind);
    let place = format!("{}.options", bind.last_mount());
    let table = [
        (memory("kernel", json!(1 << 20)), "linux.resources.memory.kernel"),
        (memory("kernelTCP", json!(1 << 20)), "linux.resources.memory.kernel"),
        (memory("useHierarchy", json!(false)), "linux.resources.memory.useHierarchy"),
        (bind, &place),
    ];
    for (bundle, place) in table {
        let outcome = kase.run(&bundle);
        outcome.succeeded();
        assert!(outcome.err.contains(&format!("kase: warning: {place}: ")), "{place}: {outcome}");
    }
}

/// Where kase's types say it in another way than the specification's schema, which is what the table has.
const DIFFERENT: [(&str, &str, &str); 12] = [
    // The schema has a range of its own or a pattern.
    ("linux.devices[].fileMode", "integer", "u32"),
    ("linux.devices[].type", "text", "word"),
    ("linux.resources.devices[].type", "text", "word"),
    ("process.oomScoreAdj", "integer", "i32"),
    ("process.rlimits[].type", "text", "word"),
    // kase looks words up itself, to say more of those that it refuses.
    ("linux.rootfsPropagation", "word", "text"),
    ("process.ioPriority.class", "word", "text"),
    ("process.scheduler.flags", "list of word", "list of text"),
    ("process.scheduler.policy", "word", "text"),
    // Wider, and bounded by planning; a limit of huge pages is never half of the address space.
    ("process.ioPriority.priority", "i32", "i64"),
    ("linux.seccomp.syscalls[].args[].index", "u32", "u64"),
    ("linux.resources.hugepageLimits[].limit", "u64", "i64"),
];

/// Fields of types of ours that no version 1.3 of the specification has.
const OLD: [&str; 2] = ["linux.intelRdt.enableCmt", "linux.intelRdt.enableMbm"];

/// The table's fields and their types.
fn listed() -> BTreeMap<String, String> {
    let fields = table::fields();
    let listed: BTreeMap<_, _> = fields.iter().map(|it| (it.path.to_owned(), it.kind.to_owned())).collect();
    assert_eq!(listed.len(), fields.len(), "a field is listed twice");
    listed
}

#[track_caller]
fn same(what: &str, found: &BTreeMap<String, String>, listed: &BTreeMap<String, String>) {
    let only = |one: &BTreeMap<String, String>, other: &BTreeMap<String, String>| -> Vec<String> {
        let only = one.iter().filter(|(path, kind)| other.get(*path) != Some(*kind));
        only.map(|(path, kind)| format!("{path} ({kind})")).collect()
    };
    let (missing, superfluous) = (only(found, listed), only(listed, found));
    assert!(missing.is_empty(), "{what} has what the table has not: {missing:#?}");
    assert!(superfluous.is_empty(), "the table has what {what} has not: {superfluous:#?}");
}

#[test]
fn the_table_has_the_fields_that_kase_reads_and_no_others() {
    let mut own = BTreeMap::new();
    for (path, kind) in recorder::fields_of::<config::Config>() {
        // A map in kase, of the two clocks that there are.
        match path.strip_prefix("linux.timeOffsets") {
            Some("") => drop(own.insert(path, "object".to_owned())),
            Some(field) => {
                let field = field.trim_start_matches("{}");
                own.insert(format!("linux.timeOffsets.boottime{field}"), kind.clone());
                own.insert(format!("linux.timeOffsets.monotonic{field}"), kind);
            }
            None if OLD.contains(&path.as_str()) => {}
            None => drop(own.insert(path, kind)),
        }
    }
    for clock in ["boottime", "monotonic"] {
        own.insert(format!("linux.timeOffsets.{clock}"), "object".to_owned());
    }
    for (path, schema, ours) in DIFFERENT {
        assert_eq!(own.insert(path.to_owned(), schema.to_owned()).as_deref(), Some(ours), "{path}");
    }
    for path in own.keys().filter(|path| path.starts_with("hooks.") && path.ends_with(".timeout")) {
        assert_eq!(own[path], "i64", "{path}");
    }
    own.iter_mut()
        .filter(|(path, _)| path.ends_with("].timeout"))
        .for_each(|(_, kind)| *kind = "integer".into());
    own.insert("process.commandLine".to_owned(), "text".to_owned());
    same("kase", &own, &listed());
}

#[test]
fn the_table_has_the_fields_of_the_specifications_schema_and_no_others() {
    let Some(checkout) = std::env::var_os("RUNTIME_SPEC") else {
        skip!("RUNTIME_SPEC names no checkout of opencontainers/runtime-spec, version 1.3");
    };
    same("the schema", &schema::fields_of(Path::new(&checkout)), &listed());
}

#[test]
fn the_sample_has_every_field() {
    let sample = serde_json::from_str(include_str!("fields/sample.json")).unwrap();
    let lacks = |field: &Field| {
        let mut at: &Value = &sample;
        for name in field.path.replace("[]", ".[]").replace("{}", ".{}").split('.') {
            at = match name {
                "[]" => &at[0],
                "{}" => at.as_object().and_then(|map| map.values().next()).unwrap(),
                name => &at[name],
            };
        }
        at.is_null()
    };
    let missing: Vec<_> = table::fields().into_iter().filter(lacks).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Every test of this program, by asking it.
fn tests() -> BTreeSet<String> {
    let mut list = std::process::Command::new(std::env::current_exe().unwrap());
    let said = list.args(["--list", "--format", "terse"]).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    said.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect()
}

/// Whether this cell of the table names tests that there are, or says why there is none.
fn is_true(cell: &str, caller: &str, tests: &BTreeSet<String>) -> bool {
    let named = |name: &str| match name.strip_prefix("kase: ") {
        Some(name) => is_unit_test(name),
        None => tests.iter().any(|test| {
            test.strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with("::") && rest.ends_with(caller))
        }),
    };
    match cell.strip_prefix('-') {
        Some(why) => why.len() > 10,
        None => cell.split(", ").all(named),
    }
}

#[test]
fn the_tests_that_the_table_names_exist() {
    let (tests, values) = (tests(), values::all());
    let mut flaws = Vec::new();
    for field in table::fields() {
        // An object does what its fields do.
        let is_whole = field.kind.ends_with("object") || field.kind.ends_with("objects");
        let cells = [(field.root, "as_root"), (field.user, "as_user"), (field.refused, "as_root")];
        for (cell, caller) in cells {
            if !(is_whole && cell == "its fields" || is_true(cell, caller, &tests)) {
                flaws.push(format!("{}: {cell} ({caller})", field.path));
            }
        }
        let has_values = values.iter().any(|case| case.field == field.path);
        if has_values != (field.refused == "fields::bad::bad_values_are_refused") {
            flaws.push(format!("{}: bad values of it are listed: {has_values}", field.path));
        }
    }
    assert!(flaws.is_empty(), "{flaws:#?}");
}

/// Whether a test of kase's own stands in its source: `launch::intel_rdt::tests::a_group_that_was_there_stays`.
fn is_unit_test(name: &str) -> bool {
    let Some((module, name)) = name.rsplit_once("::") else { return false };
    let file = module.replace("::", "/");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = [format!("{file}.rs"), format!("{}.rs", file.trim_end_matches("/tests"))];
    files.iter().any(|file| {
        let text = std::fs::read_to_string(source.join(file)).unwrap_or_default();
        text.contains(&format!("    fn {name}()")) || text.contains(&format!("\nfn {name}()"))
    })
}
