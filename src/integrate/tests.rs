use super::*;
use crate::fault::Report;
use proptest::prelude::*;
use serde_json::{Value, json};

const PROGRAM: &str = "\"/opt/kase\"";

fn said<T: std::fmt::Debug>(result: Result<T, impl Into<anyhow::Error>>) -> String {
    Report::of(&result.map_err(Into::into).unwrap_err()).line
}

#[test]
fn json_is_changed_in_one_place_only() {
    for (text, expected) in [
        ("{}", "{\"a\": 1}"),
        ("{ }\r\n", "{\"a\": 1 }\r\n"),
        ("{\n}\n", "{\n    \"a\": 1\n}\n"),
        ("{\"b\":2}", "{\"b\":2, \"a\": 1}"),
        ("{\r\n\t\"b\" :2\r\n}", "{\r\n\t\"b\" :2,\r\n\t\"a\": 1\r\n}"),
        (" { \"a\" : [ {} , \"}\" ] ,\"b\":2}\n\n", " { \"a\" : 1 ,\"b\":2}\n\n"),
        ("{\"\\u0061\": \"\\\"\", \"a\": 5}", "{\"\\u0061\": \"\\\"\", \"a\": 1}"),
    ] {
        assert_eq!(json::put(text, &["a"], "1").unwrap(), expected);
    }
    assert_eq!(json::put("{\"a\": {}}", &["a", "b"], "1").unwrap(), "{\"a\": {\"b\": 1}}");
    assert_eq!(json::put("{\"c\":0}", &["a", "b"], "1").unwrap(), "{\"c\":0, \"a\": {\"b\": 1}}");
}

#[test]
fn what_was_put_into_an_empty_object_leaves_it_as_it_was() {
    for text in ["{}", "{ }", "{\n}", " {\r\n\t}\r\n", "{\"a\": {\n}}", "{\"a\":{ },\n\"c\": 1}"] {
        for path in [&["a", "b"][..], &["d"], &["runtimes", "kase"]] {
            let with = json::put(text, path, "1").unwrap();
            let without = json::remove(&with, path).unwrap();
            let made = &path[..path.len() - 1];
            let without = match json::get(text, made).unwrap() {
                None => json::remove(&without, made).unwrap(),
                Some(_) => without,
            };
            assert_eq!(without, text, "by way of {with:?}");
        }
    }
}

#[test]
fn of_repeated_names_the_last_counts() {
    let text = "{\"a\": 1, \"a\" : 2}";
    assert_eq!(json::get(text, &["a"]).unwrap(), Some("2"));
    assert_eq!(json::put(text, &["a"], "3").unwrap(), "{\"a\": 1, \"a\" : 3}");
    assert_eq!(json::remove(text, &["a"]).unwrap(), "{\"a\": 1}");
}

#[test]
fn what_is_no_object_is_told_with_its_place() {
    for (text, place) in [
        ("", "line 1"),
        ("\u{feff}{}", "line 1 column 1"),
        ("\n[]", "line 2 column 1"),
        ("{\n\"a\": [],\n}", "line 3 column 1"),
        ("{\n // no\n}", "line 2 column 2"),
        ("{\n\"a\": []}", "line 2 column 6"),
        ("{\"x\": \"\\ud800\"}", "line 1"),
    ] {
        let line = said(json::put(text, &["a", "b"], "1"));
        assert!(line.contains(place), "{text}: {line}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![Just(Value::Null), any::<i32>().prop_map(Value::from), ".*".prop_map(Value::from)];
    leaf.prop_recursive(3, 30, 4, |inner| {
        let names = "a|b|runtimes|kase|default-runtime|.{0,3}";
        prop::collection::hash_map(names, inner, 0..4)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
    })
}

proptest! {
    #[test]
    fn what_was_put_is_there_and_removed_it_is_as_before(
        value in any_json(), pretty in any::<bool>(), name in "a|b|\u{fc}", at in 0_usize..2,
    ) {
        let text = if pretty { format!("{value:#}") } else { value.to_string() };
        let path = &["a", name.as_str()][at..];
        if let Ok(new) = json::put(&text, path, "7") {
            prop_assert_eq!(json::get(&new, path).unwrap(), Some("7"));
            serde_json::from_str::<Value>(&new).unwrap();
            if json::get(&text, &path[..1]).unwrap().is_none() && value != json!({}) {
                prop_assert_eq!(json::remove(&new, &path[..1]).unwrap(), text);
            }
        }
    }

    #[test]
    fn docker_comes_back(value in any_json()) {
        let text = value.to_string();
        if let Ok(new) = docker::add(&text, PROGRAM, Choice::Default) {
            let back: Value = serde_json::from_str(&docker::remove(&new, &text).unwrap()).unwrap();
            prop_assert_eq!(back, value);
        }
    }
}

#[test]
fn a_byte_order_mark_stays_before_everything() {
    let text = "\u{feff}{\"debug\": true}\r\n";
    let new = docker::add(text, PROGRAM, Choice::OnRequest).unwrap();
    assert_eq!(new, "\u{feff}{\"debug\": true, \"runtimes\": {\"kase\": {\"path\": \"/opt/kase\"}}}\r\n");
    assert_eq!(docker::remove(&new, text).unwrap(), text);
}

const HEAD: &str = "version = 2\n";
const CONTAINERD: &str = "[plugins.\"io.containerd.grpc.v1.cri\".containerd";

#[test]
fn a_toml_text_keeps_every_byte() {
    for text in [
        "# mine\r\nversion = 2 # two\r\n[a]\r\nb = { c = 1 ,\t d='''\r\n# kase: end\r\n''' }\r\n",
        "\u{feff}version = 2\n[x]\nversion = 1\n",
        "version=2\n[plugins]\n\n\n",
        &format!("{HEAD}{CONTAINERD}.runtimes.other]\n"),
        &format!("{HEAD}{CONTAINERD}]\nruntimes.other.runtime_type = 'x'\n"),
    ] {
        let new = containerd::add(text, PROGRAM).unwrap();
        assert!(new.starts_with(text) && new.contains("BinaryName = \"/opt/kase\"\n"), "{new}");
        assert_eq!(containerd::remove(&new).unwrap(), text);
    }
    let open = "version = 2\n[a]";
    assert_eq!(containerd::remove(&containerd::add(open, PROGRAM).unwrap()).unwrap(), format!("{open}\n"));
}

#[test]
fn runc_is_listed_where_nothing_else_is_chosen() {
    let lists =
        |text: &str| containerd::add(&format!("{HEAD}{text}"), PROGRAM).unwrap().contains("runtimes.runc]");
    assert!(lists("# default_runtime_name\n[other]\ndefault_runtime_name = 'x'\n"));
    assert!(!lists(&format!("{CONTAINERD}]\n'default_runtime_name' = 'x'\n")));
    assert!(!lists(&format!("{CONTAINERD} . runtimes . 'runc']\n")));
}

#[test]
fn what_no_block_fits_is_refused_with_its_line() {
    for (text, words) in [
        ("version = 2\n[a\n", vec!["line 2 column 3", "]"]),
        ("version = 2\nversion = 2\n", vec!["line 2", "duplicate key"]),
        ("[x]\nversion = 2\n", vec!["version is 1"]),
        ("version = \"2\"\n", vec!["version is \"2\""]),
        (&format!("{HEAD}{CONTAINERD}]\nruntimes = {{ runc = {{}} }}\n"), vec!["line 3", "`runtimes`"]),
        (&format!("{HEAD}{CONTAINERD}]\nruntimes = 5\n"), vec!["line 3", "`runtimes`"]),
        (&format!("{HEAD}plugins = {{ }}\n"), vec!["line 2", "`plugins`"]),
        (&format!("{HEAD}{CONTAINERD}]\nruntimes = {{ 'kase' = {{}} }}\n"), vec!["line 3", "already"]),
        (&format!("{HEAD}{CONTAINERD}.runtimes]\nkase.x = 1\n"), vec!["line 3", "already"]),
    ] {
        let line = said(containerd::add(text, PROGRAM));
        assert!(words.iter().all(|word| line.contains(word)), "{text}: {line}");
    }
}

#[test]
fn a_block_without_its_end_is_left_alone() {
    let text = containerd::add(HEAD, PROGRAM).unwrap().replace("# kase: end\n", "[mine]\n");
    let line = said(containerd::remove(&text));
    assert!(line.contains("line 2") && line.contains("# kase: end"), "{line}");
}

#[test]
fn a_block_of_the_script_that_was_before_comes_out_too() {
    let text =
        "a = 1\r\n# kase: begin (make cleanup/containerd takes this out)\r\n[x]\r\n# kase: end\r\nb = 1\r\n";
    assert_eq!(containerd::remove(text).unwrap(), "a = 1\r\nb = 1\r\n");
}

#[test]
fn a_programs_path_is_quoted() {
    assert_eq!(quoted(Path::new("/a b/\"k\\")).unwrap(), "\"/a b/\\\"k\\\\\"");
    let crio = drop_in::crio(&quoted(Path::new("/a|&\"'/k")).unwrap(), Choice::OnRequest);
    let path = ["crio", "runtime", "runtimes", "kase", "runtime_path"];
    assert_eq!(toml::Document::read(&crio).unwrap().get(&path), Some("\"/a|&\\\"'/k\""));
    assert_eq!(toml::Document::read(&crio).unwrap().get(&["crio", "runtime", "default_runtime"]), None);
    for wrong in ["kase", "", "/a\nb", "/a\u{7f}"] {
        assert!(quoted(Path::new(wrong)).is_err(), "{wrong}");
    }
}

#[test]
fn every_engine_has_its_name() {
    for name in Engine::NAMES {
        assert_eq!(Engine::NAMES[Engine::named(name).unwrap() as usize], name);
    }
}
