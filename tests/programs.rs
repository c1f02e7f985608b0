//! The container's program: what is wrong with it is said before it would start.

use crate::common::{Bundle, Kase, json, words};
use std::fs;

deeds! {
    a_program_that_is_not_in_the_path_is_refused_at_create,
    a_program_that_is_missing_is_refused_at_create,
    a_file_without_the_execute_bit_is_refused_at_create,
    a_directory_is_no_program,
    a_program_of_another_architecture_is_refused,
    a_script_without_its_interpreter_names_the_interpreter,
    a_dynamic_program_without_its_loader_names_the_loader,
    a_failed_exec_is_one_line,
}

/// `create` says what is wrong, and nothing is left.
fn refused_at_create(kase: &Kase, bundle: &Bundle, expected: &[&str]) {
    let id = kase.id();
    let outcome = kase.call(words(["create", "-b"], bundle.dir(), [id.as_str()]));
    kase.call(["delete", "--force", &id]);
    outcome.refused(expected);
}

fn a_program_that_is_not_in_the_path_is_refused_at_create(kase: &Kase) {
    let bundle = kase.bundle().args(["nothere"]);
    refused_at_create(kase, &bundle, &["process.args", "nothere", "executable file not found in $PATH"]);
}

fn a_program_that_is_missing_is_refused_at_create(kase: &Kase) {
    refused_at_create(
        kase,
        &kase.bundle().args(["/not/here"]),
        &["process.args", "/not/here", "no such file or directory"],
    );
    refused_at_create(kase, &kase.bundle().args(["./not-here"]), &["process.args", "not-here"]);
}

fn a_file_without_the_execute_bit_is_refused_at_create(kase: &Kase) {
    let bundle = kase.bundle().file("etc/plain", "#!/probe\n").args(["/etc/plain"]);
    refused_at_create(kase, &bundle, &["process.args", "/etc/plain", "permission denied"]);
}

fn a_directory_is_no_program(kase: &Kase) {
    refused_at_create(kase, &kase.bundle().args(["/etc"]), &["process.args", "/etc"]);
}

fn a_program_of_another_architecture_is_refused(kase: &Kase) {
    // The head of an ELF file for machine 22, an IBM mainframe.
    let mut head = [0_u8; 64];
    head[..7].copy_from_slice(b"\x7fELF\x02\x02\x01");
    (head[17], head[19], head[23]) = (2, 22, 1);
    let bundle = kase.bundle().program("tmp/foreign", &head).args(["/tmp/foreign"]);
    kase.run(&bundle).refused(&["/tmp/foreign", "exec format error"]);
}

fn a_script_without_its_interpreter_names_the_interpreter(kase: &Kase) {
    let bundle = kase.bundle().program("tmp/script", b"#!/no/such/sh -e\n").args(["/tmp/script"]);
    let outcome = kase.run(&bundle);
    outcome.fails(&["exec /tmp/script: no such file or directory", "/no/such/sh"]);
    assert_eq!(outcome.err.lines().count(), 1, "there is nothing to add: {outcome}");
}

fn a_dynamic_program_without_its_loader_names_the_loader(kase: &Kase) {
    let program = fs::read("/bin/true").unwrap();
    let text = String::from_utf8_lossy(&program);
    let Some(start) = text.find("/lib64/ld-").or_else(|| text.find("/lib/ld-")) else {
        skip!("/bin/true of this host has no loader");
    };
    let loader = text[start..].split('\0').next().unwrap().to_owned();
    let bundle = kase.bundle().program("tmp/dynamic", &program).args(["/tmp/dynamic"]);
    kase.run(&bundle).refused(&["/tmp/dynamic", &loader]);
}

fn a_failed_exec_is_one_line(kase: &Kase) {
    let bundle =
        kase.bundle().program("tmp/empty", b"").edit(|spec| spec["process"]["args"] = json!(["/tmp/empty"]));
    let outcome = kase.run(&bundle);
    outcome.refused(&["/tmp/empty"]);
    assert_eq!(
        outcome.err.matches("/tmp/empty").count(),
        1 + outcome.help().matches("/tmp/empty").count(),
        "{outcome}"
    );
}
