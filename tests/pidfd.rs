//! Pidfds of what kase starts, handed to whoever asked for them.

use crate::common::{Kase, is_ours, json, words};
use crate::terminal::receive;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;

deeds! {
    create_sends_a_pidfd_of_init,
    run_sends_a_pidfd_of_init,
    exec_sends_a_pidfd_of_its_process,
    the_annotation_names_a_receiver_too,
    a_receiver_that_does_not_listen_is_refused,
}

struct Receiver(UnixListener, String);

fn receiver(kase: &Kase) -> Receiver {
    let path = kase.path("pidfd");
    let listener = UnixListener::bind(&path).unwrap();
    kase.identity.own(&path);
    Receiver(listener, path.to_str().unwrap().to_owned())
}

impl Receiver {
    /// The process behind the descriptor that came.
    fn pid(&self) -> i32 {
        let (socket, _) = self.0.accept().unwrap();
        let pidfd: OwnedFd = receive(&socket).expect("a descriptor in the message");
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).unwrap();
        info.lines().find_map(|line| line.strip_prefix("Pid:")).unwrap().trim().parse().unwrap()
    }
}

fn create_sends_a_pidfd_of_init(kase: &Kase) {
    let receiver = receiver(kase);
    let id = kase.id();
    let options = ["--pidfd-socket", &receiver.1, &id];
    kase.call(words(["create", "-b"], kase.bundle().dir(), options)).succeeded();
    let state = kase.call(["state", &id]);
    kase.call(["delete", "--force", &id]).succeeded();
    assert!(state.stdout().contains(&format!("\"pid\": {},", receiver.pid())), "{state}");
}

fn run_sends_a_pidfd_of_init(kase: &Kase) {
    let receiver = receiver(kase);
    let outcome = kase.run_with(&kase.bundle(), ["--pidfd-socket", &receiver.1]);
    outcome.succeeded();
    // It has ended, which a pidfd tells.
    assert_eq!(receiver.pid(), -1);
}

fn exec_sends_a_pidfd_of_its_process(kase: &Kase) {
    let receiver = receiver(kase);
    let container = kase.run_detached(&kase.bundle().args(["/probe", "sleep"]));
    let options = ["exec", "-d", "--pid-file", "added", "--pidfd-socket", &receiver.1];
    kase.call(options.into_iter().chain([container.id.as_str(), "/probe", "sleep"])).succeeded();
    assert_eq!(receiver.pid().to_string(), fs::read_to_string(kase.path("added")).unwrap());
}

fn the_annotation_names_a_receiver_too(kase: &Kase) {
    if !is_ours() {
        skip!("crun's annotation, which not all others know");
    }
    let receiver = receiver(kase);
    let bundle = kase.bundle().args(["/probe", "sleep"]);
    let bundle = bundle.edit(|spec| spec["annotations"] = json!({"run.oci.pidfd_receiver": receiver.1}));
    let container = kase.create(&bundle);
    assert_eq!(receiver.pid(), container.pid());
}

fn a_receiver_that_does_not_listen_is_refused(kase: &Kase) {
    kase.run_with(&kase.bundle(), ["--pidfd-socket", "/no/such/socket"]).refused(&["/no/such/socket"]);
    if is_ours() {
        let annotation = json!({"run.oci.pidfd_receiver": "/no/such/socket"});
        let bundle = kase.bundle().edit(|spec| spec["annotations"] = annotation);
        kase.run(&bundle).refused(&["annotations[\"run.oci.pidfd_receiver\"]", "/no/such/socket"]);
    }
}
