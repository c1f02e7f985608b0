//! `make integrate/ENGINE` and `make cleanup/ENGINE`: what `kase integrate` does to somebody's configuration.

mod command;

use crate::common::{Value, is_ours, json, program};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;

const USERS: &str = "{\n\t\"data-root\" : \"/srv\",\n\t\"default-runtime\": \"crun\",\n\
    \t\"runtimes\": { \"crun\": {\"path\": \"/usr/bin/crun\"} }\n}\n\n";

/// A configuration directory of one engine.
struct Engine {
    name: &'static str,
    dir: PathBuf,
}

impl Engine {
    fn new(name: &'static str, test: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("kase-{name}-{test}-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        Self { name, dir }
    }

    fn docker(test: &str, text: &str) -> Self {
        let engine = Self::new("docker", test);
        engine.write(text);
        engine
    }

    fn file(&self) -> PathBuf {
        self.dir.join(match self.name {
            "podman" => "containers.conf.d/kase.conf",
            "crio" => "crio.conf.d/kase.conf",
            "containerd" => "config.toml",
            _ => "daemon.json",
        })
    }

    fn write(&self, text: &str) {
        fs::write(self.file(), text).unwrap();
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text()).unwrap()
    }

    /// Whether make succeeded, and what it printed.
    fn make(&self, target: &str, words: &[&str]) -> (bool, String) {
        let mut make = Command::new("make");
        make.arg("-C").arg(env!("CARGO_MANIFEST_DIR")).arg("--no-print-directory");
        make.arg(format!("{target}/{}", self.name)).arg(format!("CFGDIR={}", self.dir.display()));
        make.args(words)
            .arg("PIDFILE=/none")
            .env("KASE", program())
            .env_remove("MAKEFLAGS")
            .env_remove("MAKEOVERRIDES");
        make.env_remove("DEFAULT").env_remove("INSTALLDIR");
        // In the place of what was built or installed.
        make.args(is_ours().then(|| format!("KASE={}", program())));
        let output = make.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    }

    fn integrate(&self, words: &[&str]) {
        let (done, said) = self.make("integrate", words);
        assert!(done, "{said}");
    }

    fn clean_up(&self) {
        let (done, said) = self.make("cleanup", &[]);
        assert!(done, "{said}");
    }

    /// There is again what there was, and nothing beside it.
    fn is_as_before(&self, text: Option<&str>) {
        assert_eq!(fs::read_to_string(self.file()).ok().as_deref(), text);
        let files = fs::read_dir(self.file().parent().unwrap()).map_or(0, Iterator::count);
        assert_eq!(files, usize::from(text.is_some()), "in {}", self.dir.display());
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.dir).unwrap();
    }
}

#[test]
fn docker_gets_kase_as_its_default_and_loses_it_again() {
    let docker = Engine::docker("default", USERS);
    docker.integrate(&[]);
    let expected = json!({
        "data-root": "/srv",
        "default-runtime": "kase",
        "runtimes": {"crun": {"path": "/usr/bin/crun"}, "kase": {"path": "/usr/local/bin/kase"}},
    });
    assert_eq!(docker.json(), expected);
    assert!(docker.text().starts_with("{\n\t\"data-root\" : \"/srv\",\n"), "the form is kept");
    docker.clean_up();
    docker.is_as_before(Some(USERS));
}

#[test]
fn every_form_of_a_daemon_json_comes_back_to_the_byte() {
    let texts = [
        "",
        "\n \n",
        "{}",
        "{ }\r\n",
        "{\"runtimes\":{}}",
        "{\"runtimes\": {\"kase\": {\"path\": \"/opt/kase\"}}, \"default-runtime\": \"kase\"}",
        "{\"a\":{\"default-runtime\":\"no\",\"x\":[1,-2.5e3,{\"y\":null}]},\"ü\\\"}\":\"\\u00e9,{\",\"debug\":true}",
    ];
    for (number, text) in texts.iter().enumerate() {
        let docker = Engine::docker(&format!("form{number}"), text);
        fs::set_permissions(docker.file(), fs::Permissions::from_mode(0o600)).unwrap();
        docker.integrate(&[]);
        let now = docker.json();
        assert_eq!(now["runtimes"]["kase"]["path"], "/usr/local/bin/kase", "{text}");
        assert_eq!(now["default-runtime"], "kase", "{text}");
        assert_eq!(fs::metadata(docker.file()).unwrap().permissions().mode() & 0o777, 0o600);
        docker.clean_up();
        docker.is_as_before(Some(text));
        assert_eq!(fs::metadata(docker.file()).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_missing_file_is_made_and_removed_with_its_directory_made_where_it_is_missing() {
    let mut docker = Engine::new("docker-rootless", "missing");
    let own = docker.dir.clone();
    docker.dir = own.join("config/docker");
    docker.integrate(&[]);
    assert_eq!(docker.json()["default-runtime"], "kase");
    docker.clean_up();
    docker.is_as_before(None);
    docker.dir = own;
}

#[test]
fn a_second_time_changes_nothing() {
    for name in ["docker", "podman", "containerd", "crio"] {
        let engine = Engine::new(name, "twice");
        engine.integrate(&[]);
        let once = engine.text();
        engine.integrate(&[]);
        assert_eq!(engine.text(), once);
        engine.clean_up();
        engine.clean_up();
        engine.is_as_before(None);
    }
}

#[test]
fn without_default_docker_keeps_its_own() {
    let docker = Engine::docker("only-added", USERS);
    docker.integrate(&["DEFAULT=no"]);
    assert_eq!(docker.json()["default-runtime"], "crun");
    assert_eq!(docker.json()["runtimes"]["kase"]["path"], "/usr/local/bin/kase");
    docker.integrate(&["INSTALLDIR=/opt/bin"]);
    assert_eq!(docker.json()["default-runtime"], "kase");
    assert_eq!(docker.json()["runtimes"]["kase"]["path"], "/opt/bin/kase");
    docker.integrate(&["DEFAULT=no"]);
    assert_eq!(docker.json()["default-runtime"], "crun", "what it was before the first time");
    docker.clean_up();
    docker.is_as_before(Some(USERS));
}

#[test]
fn what_is_no_json_stays_as_it_is() {
    let texts = [
        "{\"debug\": true,}",
        "{\n  // debugging\n  \"debug\": true\n}",
        "{\"debug\": true",
        "{\"debug\": \"a\nb\"}",
        "{\"debug\" true}",
        "{\"debug\": tru}",
        "{\"debug\": 01}",
        "{} {}",
        "[]",
        "\"text\"",
        "{\"runtimes\": []}",
    ];
    for (number, text) in texts.iter().enumerate() {
        let docker = Engine::docker(&format!("bad{number}"), text);
        let (done, said) = docker.make("integrate", &[]);
        assert!(!done, "{text}: {said}");
        assert!(said.contains("line ") && said.contains("stays as it was"), "{text}: {said}");
        docker.is_as_before(Some(text));
    }
}

#[test]
fn a_daemon_json_that_broke_since_is_not_touched_by_the_cleanup() {
    let docker = Engine::docker("broke", USERS);
    docker.integrate(&[]);
    let broken = docker.text().replace("\"data-root\" :", "\"data-root\"");
    docker.write(&broken);
    let (done, said) = docker.make("cleanup", &[]);
    assert!(!done, "{said}");
    assert_eq!(docker.text(), broken);
    docker.write(&broken.replace("\"data-root\"", "\"data-root\" :"));
    docker.clean_up();
    docker.is_as_before(Some(USERS));
}

#[test]
fn what_the_user_changed_meanwhile_stays_and_the_old_default_comes_back() {
    let docker = Engine::docker("edited", USERS);
    docker.integrate(&[]);
    let edited = docker.text().replace("\"/srv\"", "\"/big\"").replacen('{', "{\"debug\": true,", 1);
    docker.write(&edited);
    docker.integrate(&[]);
    assert_eq!(docker.text(), edited, "kase is there already");
    docker.write(&edited.replace("true", "false"));
    docker.clean_up();
    docker.is_as_before(Some(&USERS.replace("\"/srv\"", "\"/big\"").replacen('{', "{\"debug\": false,", 1)));
}

#[test]
fn a_default_that_the_user_chose_meanwhile_stays() {
    let docker = Engine::docker("chosen", "{}\n");
    docker.integrate(&[]);
    docker.write(&docker.text().replace("\"default-runtime\": \"kase\"", "\"default-runtime\": \"runc\""));
    docker.clean_up();
    docker.is_as_before(Some("{\"default-runtime\": \"runc\"}\n"));
}

#[test]
fn a_registration_of_the_users_own_is_left_alone_and_comes_back() {
    let own = "{\"runtimes\": {\"kase\": {\"path\": \"/opt/kase\", \"runtimeArgs\": [\"--debug\"]}}}";
    let docker = Engine::docker("own", own);
    docker.clean_up();
    docker.is_as_before(Some(own));
    docker.integrate(&[]);
    docker.write(&docker.text().replacen('{', "{\"debug\": true, ", 1));
    docker.clean_up();
    docker.is_as_before(Some(&own.replacen('{', "{\"debug\": true, ", 1)));
}

#[test]
fn a_link_stays_a_link() {
    let docker = Engine::new("docker", "link");
    let target = docker.dir.join("elsewhere.json");
    fs::write(&target, USERS).unwrap();
    symlink(&target, docker.file()).unwrap();
    docker.integrate(&[]);
    assert!(fs::symlink_metadata(docker.file()).unwrap().is_symlink());
    assert_eq!(docker.json()["default-runtime"], "kase");
    docker.clean_up();
    assert_eq!(fs::read_to_string(target).unwrap(), USERS);
    assert_eq!(fs::read_dir(&docker.dir).unwrap().count(), 2);
}

#[test]
fn podmans_lists_keep_what_the_user_added_to_them() {
    let podman = Engine::new("podman", "lists");
    let user = "[engine]\nruntime_supports_json = [\"runc\",\n  # mine\n  \"mine\"]\nruntime = \"mine\"\n";
    fs::write(podman.dir.join("containers.conf"), user).unwrap();
    podman.integrate(&["DEFAULT=no"]);
    let text = podman.text();
    let list = text.lines().find(|line| line.starts_with("runtime_supports_json")).unwrap();
    assert!(list.contains("\"kase\"") && list.contains("\"mine\"") && list.contains("\"runc\""), "{text}");
    assert!(!text.contains("\nruntime ="), "{text}");
    podman.integrate(&[]);
    assert!(podman.text().contains("\nruntime = \"kase\"\n"));
    podman.clean_up();
    podman.is_as_before(None);
    assert_eq!(fs::read_to_string(podman.dir.join("containers.conf")).unwrap(), user);
}

#[test]
fn containerd_gets_the_block_of_its_version() {
    for (version, plugin) in [(2, "io.containerd.grpc.v1.cri"), (3, "io.containerd.cri.v1.runtime")] {
        let containerd = Engine::new("containerd", &format!("v{version}"));
        // Without a newline at its end.
        let text =
            format!("# mine\nversion = {version}\n[plugins.\"{plugin}\".cni]\n  bin_dir = \"/usr/lib/cni\"");
        containerd.write(&text);
        containerd.integrate(&["INSTALLDIR=/opt/bin"]);
        let now = containerd.text();
        assert!(now.starts_with(&format!("{text}\n")), "{now}");
        assert!(now.contains(&format!("[plugins.\"{plugin}\".containerd.runtimes.kase]\n")), "{now}");
        assert!(now.contains("BinaryName = \"/opt/bin/kase\"\n"), "{now}");
        assert!(now.contains(&format!("[plugins.\"{plugin}\".containerd.runtimes.runc]\n")), "{now}");
        containerd.clean_up();
        containerd.is_as_before(Some(&text));

        containerd.integrate(&[]);
        containerd.write(&containerd.text().replace("# mine", "# yours"));
        containerd.clean_up();
        containerd.is_as_before(Some(&(text.replace("# mine", "# yours") + "\n")));
    }
}

#[test]
fn containerds_own_runtimes_are_not_listed_twice() {
    let texts = [
        "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc.options]\n",
        "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd]\n  default_runtime_name = \"mine\"\n",
    ];
    for text in texts {
        let containerd = Engine::new("containerd", "listed");
        containerd.write(text);
        containerd.integrate(&[]);
        let block = containerd.text().replacen(text, "", 1);
        assert!(block.contains("runtimes.kase]") && !block.contains("runtimes.runc"), "{block}");
    }
}

#[test]
fn containerds_first_version_and_a_foreign_kase_are_refused() {
    let texts = [
        "[plugins.cri]\n",
        "version = 4\n",
        "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.kase]\n",
    ];
    for text in texts {
        let containerd = Engine::new("containerd", "refused");
        containerd.write(text);
        let (done, said) = containerd.make("integrate", &[]);
        assert!(!done && said.contains("stays as it was"), "{said}");
        containerd.is_as_before(Some(text));
    }
}

#[test]
fn a_wrong_word_is_refused() {
    let docker = Engine::docker("word", USERS);
    assert!(!docker.make("integrate", &["DEFAULT=maybe"]).0);
    assert!(!docker.make("integrate", &["INSTALLDIR=bin"]).0);
    docker.is_as_before(Some(USERS));
}

#[test]
fn the_examples_are_what_is_written() {
    let extras = concat!(env!("CARGO_MANIFEST_DIR"), "/extras");
    let docker = Engine::new("docker", "example");
    docker.integrate(&[]);
    let example = fs::read_to_string(format!("{extras}/daemon.json")).unwrap();
    assert_eq!(docker.json(), serde_json::from_str::<Value>(&example).unwrap());
    for (name, example) in [("podman", "podman.conf"), ("crio", "crio.conf")] {
        let engine = Engine::new(name, "example");
        engine.integrate(&[]);
        assert_eq!(engine.text(), fs::read_to_string(format!("{extras}/{example}")).unwrap());
    }
}
