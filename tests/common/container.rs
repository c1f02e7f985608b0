//! One container that outlives the command that made it; deleted when the test lets go of it.

use super::kase::{Running, words};
use super::{Bundle, Kase, Outcome, wait_until};
use serde_json::Value;
use std::fs;

/// A created or started container.
pub struct Container<'a> {
    pub kase: &'a Kase,
    pub id: String,
    creator: Option<Running>,
}

impl<'a> Container<'a> {
    /// `create` with more words before the id.
    pub fn create(kase: &'a Kase, bundle: &Bundle, options: &[&str]) -> Self {
        Self::make(kase, bundle, "create", options)
    }

    pub fn run_detached(kase: &'a Kase, bundle: &Bundle) -> Self {
        Self::make(kase, bundle, "run", &["--detach"])
    }

    fn make(kase: &'a Kase, bundle: &Bundle, verb: &str, options: &[&str]) -> Self {
        let id = kase.id();
        let options = options.iter().copied().chain([id.as_str()]);
        let mut creator = kase.spawn(kase.command(words([verb, "-b"], bundle.dir(), options)));
        let mut code = None;
        wait_until(&format!("{verb} {id}"), || {
            code = creator.child.try_wait().unwrap().map(|status| status.code());
            code.is_some()
        });
        // From here on the container is deleted even if the test fails.
        let container = Self { kase, id, creator: Some(creator) };
        if code != Some(Some(0)) {
            let outcome = container.creator_outcome();
            panic!("{verb} failed: {outcome}");
        }
        container
    }

    fn creator_outcome(mut self) -> Outcome {
        self.creator.take().unwrap().finish()
    }

    /// What the container printed so far.
    pub fn stdout(&self) -> String {
        self.creator.as_ref().unwrap().stdout()
    }

    /// Waits until the container has printed `text`.
    pub fn says(&self, text: &str) {
        self.creator.as_ref().unwrap().says(text);
    }

    /// A command on this container: `call("kill", ["TERM"])` is `kase kill ID TERM`.
    pub fn call<const N: usize>(&self, verb: &str, args: [&str; N]) -> Outcome {
        self.kase.call([verb, self.id.as_str()].into_iter().chain(args))
    }

    pub fn start(&self) {
        self.call("start", []).succeeded();
    }

    /// Starts it and gives its output when it has ended.
    pub fn output(&self) -> String {
        self.start();
        self.becomes("stopped");
        self.stdout()
    }

    /// The state as `kase state` prints it.
    pub fn state(&self) -> Value {
        serde_json::from_str(self.call("state", []).stdout()).unwrap()
    }

    pub fn status(&self) -> String {
        self.state()["status"].as_str().unwrap().to_owned()
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.state()["pid"].as_i64().unwrap()).unwrap()
    }

    /// Waits for a status.
    pub fn becomes(&self, status: &str) {
        wait_until(&format!("{} to be {status}", self.id), || self.status() == status);
    }

    /// Of the container's first process, a file in the host's /proc.
    pub fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.pid())).unwrap()
    }

    /// `delete`, which must succeed and leave no state.
    pub fn delete(self) {
        self.call("delete", []).succeeded();
        assert_ne!(self.call("state", []).code, 0, "{} has a state after its delete", self.id);
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        // Not every runtime takes options behind the id.
        let outcome = self.kase.call(["delete", "--force", &self.id]);
        if !std::thread::panicking() {
            outcome.succeeded();
        }
    }
}
