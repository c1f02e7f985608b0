//! One test's home: its caller, its directory, the command line of kase, and the end of it all.

use super::before::Before;
use super::caller::{Caller, Identity};
use super::peer::Peer;
use super::{Bundle, Container, Outcome, leftovers, programs};
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// No command of a test takes longer than this; what does hangs. `KASE_PATIENCE` has other seconds, for machines
/// that are emulated.
pub fn patience() -> Duration {
    let seconds = std::env::var("KASE_PATIENCE").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(60))
}

/// The runtime as one test sees it.
pub struct Kase {
    pub caller: Caller,
    pub identity: Identity,
    dir: PathBuf,
    name: String,
    count: AtomicU32,
    /// Options before every command.
    globals: &'static [&'static str],
    /// What is run in kase's place.
    peer: Option<Peer>,
}

impl Kase {
    /// Runs one test as this caller and asserts that nothing of it is left; skips it where the caller
    /// does not exist.
    pub fn with(caller: Caller, deed: impl FnOnce(&Self)) {
        if let Some(kase) = Self::of(caller) {
            deed(&kase);
        }
    }

    /// This caller's, where it can be; the same at its end.
    pub fn of(caller: Caller) -> Option<Self> {
        match caller.identity() {
            Ok(identity) => Some(Self::new(caller, identity, &[])),
            Err(why) => {
                super::record_skip(&why);
                None
            }
        }
    }

    pub(super) fn new(caller: Caller, identity: Identity, globals: &'static [&'static str]) -> Self {
        Self::running(None, caller, identity, globals)
    }

    /// The same caller in another home, with a peer in kase's place if there is one.
    pub fn beside(&self, peer: Option<Peer>) -> Self {
        Self::running(peer, self.caller, self.identity.clone(), &[])
    }

    fn running(
        peer: Option<Peer>,
        caller: Caller,
        identity: Identity,
        globals: &'static [&'static str],
    ) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("kase-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(&name);
        let kase = Self { caller, identity, dir, name, count: AtomicU32::new(0), globals, peer };
        fs::create_dir(&kase.dir).unwrap();
        kase.identity.own(&kase.dir);
        kase.directory("state");
        fs::set_permissions(kase.directory("run"), Permissions::from_mode(0o700)).unwrap();
        kase
    }

    pub fn is_root(&self) -> bool {
        self.caller == Caller::Root
    }

    /// The name that everything of this test has in its own.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A path in the test's directory.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.dir.join(path)
    }

    /// Makes a directory of the caller's.
    pub fn directory(&self, path: &str) -> PathBuf {
        let path = self.path(path);
        fs::create_dir_all(&path).unwrap();
        self.identity.own(&path);
        path
    }

    /// Makes a file of the caller's.
    pub fn file(&self, path: &str, text: &str) -> PathBuf {
        let path = self.path(path);
        fs::write(&path, text).unwrap();
        self.identity.own(&path);
        path
    }

    /// A container id that no other test has.
    pub fn id(&self) -> String {
        format!("{}-{}", self.name, self.next())
    }

    pub fn bundle(&self) -> Bundle {
        let dir = self.path(format!("bundle-{}", self.next()));
        Bundle::new(dir, self.caller, &self.identity, &self.marker())
    }

    /// A variable that marks every process of this test, so that none is overlooked.
    pub fn marker(&self) -> String {
        format!("KASE_TEST={}", self.name)
    }

    /// Where containers' state is kept for this caller.
    pub fn state_dir(&self) -> PathBuf {
        let runtime = self.peer.as_ref().map_or_else(super::peer, |peer| peer.name.into());
        if self.is_root() { self.path("state") } else { self.path("run").join(runtime) }
    }

    /// Any program as the caller, with the environment that kase gets.
    pub fn program(&self, program: &str) -> Command {
        let mut command = self.identity.command(Path::new(program));
        command.current_dir(&self.dir).env("HOME", &self.dir).env("KASE_TEST", &self.name);
        if !self.is_root() {
            command.env("XDG_RUNTIME_DIR", self.path("run"));
        }
        command.stdin(Stdio::null());
        command
    }

    /// kase with these words: root's state is kept in the test's directory.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        self.command_after(&Before::default(), args)
    }

    /// The same, after something else in the same process.
    pub fn command_after<S: AsRef<OsStr>>(
        &self,
        before: &Before,
        args: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = match &self.peer {
            None => before.command(self, programs::kase()),
            Some(peer) => {
                let mounts = peer.mounts() + &before.mounts;
                Before { mounts, shell: before.shell.clone() }.command(self, &peer.program)
            }
        };
        if self.is_root() {
            command.arg("--root").arg(self.path("state"));
        }
        command.args(self.globals).args(args);
        command
    }

    /// Runs kase with these words to its end.
    pub fn call<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Outcome {
        self.finish(self.command(args))
    }

    /// `run` in the foreground.
    pub fn run(&self, bundle: &Bundle) -> Outcome {
        self.call(words(["run", "-b"], bundle.dir(), [self.id().as_str()]))
    }

    /// `run` in the foreground, with more words before the id.
    pub fn run_with<const N: usize>(&self, bundle: &Bundle, options: [&str; N]) -> Outcome {
        let id = self.id();
        self.call(words(["run", "-b"], bundle.dir(), options.into_iter().chain([id.as_str()])))
    }

    /// What the probe prints in this bundle when run with these commands.
    pub fn sees<const N: usize>(&self, bundle: Bundle, args: [&str; N]) -> String {
        let args: Vec<&str> = ["/probe"].into_iter().chain(args).collect();
        let bundle = bundle.edit(|spec| spec["process"]["args"] = serde_json::json!(args));
        self.run(&bundle).stdout().to_owned()
    }

    /// `create`, which must succeed.
    pub fn create(&self, bundle: &Bundle) -> Container<'_> {
        Container::create(self, bundle, &[])
    }

    /// `run --detach`, which must succeed.
    pub fn run_detached(&self, bundle: &Bundle) -> Container<'_> {
        Container::run_detached(self, bundle)
    }

    /// Starts a command whose output goes to files: a container that outlives kase holds them open.
    pub fn spawn(&self, mut command: Command) -> Running {
        let number = self.next();
        let (out, err) = (self.path(format!("out-{number}")), self.path(format!("err-{number}")));
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        [&out, &err].into_iter().for_each(|file| self.identity.own(file));
        let text = format!("{command:?}");
        Running { child: command.spawn().unwrap(), text, out, err }
    }

    /// Runs a command to its end.
    pub fn finish(&self, command: Command) -> Outcome {
        self.spawn(command).finish()
    }

    /// Runs a command under strace, which kills it as it enters the system call of this name (or `all`) for the
    /// n-th time, and then ends as it did.
    pub fn killed_at(&self, name: &str, nth: u32, command: &Command) -> (ExitStatus, Running) {
        let mut strace = self.program("strace");
        strace.args(["-o", "strace", "-e"]).arg(format!("inject={name}:signal=KILL:when={nth}"));
        strace.arg("--").arg(command.get_program()).args(command.get_args());
        let mut running = self.spawn(strace);
        let mut status = None;
        wait_until("strace to end", || {
            status = running.child.try_wait().unwrap();
            status.is_some()
        });
        (status.unwrap(), running)
    }

    /// The command under the tests' tool for failing system calls, which writes to `log`.
    pub fn injected(&self, log: &Path, options: &[String], command: &Command) -> Command {
        let mut inject = Command::new(programs::inject());
        inject.arg(format!("log={}", log.display())).args(options);
        if !self.is_root() {
            inject.arg(format!("uid={}", self.identity.uid)).arg(format!("gid={}", self.identity.gid));
        }
        inject.arg("--").arg(command.get_program()).args(command.get_args());
        inject.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        inject.current_dir(self.path("")).stdin(Stdio::null());
        inject
    }

    /// Starts the command, which comes to stand still before or after (`hold`) the first of these calls, of those
    /// with a path that ends in `path` if there is one, and waits until it does.
    pub fn held(&self, hold: &str, calls: &[libc::c_long], path: Option<&str>, command: &Command) -> Held {
        let number = self.next();
        let (log, until) = (self.path(format!("held-{number}")), self.path(format!("go-on-{number}")));
        let calls: Vec<String> = calls.iter().map(ToString::to_string).collect();
        let mut options = vec![
            format!("hold={hold}"),
            format!("calls={}", calls.join(",")),
            format!("until={}", until.display()),
        ];
        options.extend(path.map(|path| format!("path={path}")));
        let mut running = self.spawn(self.injected(&log, &options, command));
        wait_until("the command to stand still", || {
            assert!(running.child.try_wait().unwrap().is_none(), "it ended before: {}", running.outcome(0));
            fs::read(&log).is_ok_and(|text| !text.is_empty())
        });
        Held { running, until }
    }

    /// Everything of this test that is there now, which at its end must be nothing.
    pub fn leftovers(&self) -> Vec<String> {
        leftovers::find(&self.dir, &self.name, &self.state_dir())
    }

    /// Clears that away.
    pub fn clear(&self) {
        leftovers::clear(&self.dir, &self.name);
    }

    /// The processes of this test, with what they wait for.
    pub fn processes(&self) -> Vec<String> {
        leftovers::processes(&self.name).into_iter().map(leftovers::describe_process).collect()
    }

    fn next(&self) -> u32 {
        self.count.fetch_add(1, Ordering::Relaxed)
    }
}

impl Drop for Kase {
    /// Whatever the test left is cleared away; if the test is content otherwise, it fails for it.
    fn drop(&mut self) {
        let leftovers = leftovers::find(&self.dir, &self.name, &self.state_dir());
        leftovers::clear(&self.dir, &self.name);
        let _ = fs::remove_dir_all(&self.dir);
        if !std::thread::panicking() {
            assert!(leftovers.is_empty(), "left behind: {leftovers:#?}");
        }
    }
}

/// A command that stands still at a system call.
pub struct Held {
    running: Running,
    until: PathBuf,
}

impl Held {
    /// Lets it go on.
    pub fn goes_on(self) -> Running {
        File::create(&self.until).unwrap();
        self.running
    }
}

/// A command under way.
pub struct Running {
    pub child: Child,
    text: String,
    out: PathBuf,
    err: PathBuf,
}

impl Running {
    /// What it printed so far.
    pub fn stdout(&self) -> String {
        fs::read_to_string(&self.out).unwrap()
    }

    /// Waits until it has printed `text`.
    pub fn says(&self, text: &str) {
        wait_until(&format!("`{text}` from {}", self.text), || self.stdout().contains(text));
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Outcome {
        let ended = self.ends_within(patience());
        if ended.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let outcome = self.outcome(ended.unwrap_or(128 + 9));
        assert!(ended.is_some(), "hangs: {outcome}");
        // Nobody can ask again.
        [&self.out, &self.err].into_iter().for_each(|file| drop(fs::remove_file(file)));
        outcome
    }

    /// Its exit code, or `128 + N` if a signal ended it; nothing if it takes longer than this.
    pub fn ends_within(&mut self, patience: Duration) -> Option<i32> {
        let deadline = Instant::now() + patience;
        loop {
            match self.child.try_wait().unwrap() {
                Some(status) => {
                    return Some(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
                }
                None if Instant::now() > deadline => return None,
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// What it said, with this code for its end.
    pub fn outcome(&self, code: i32) -> Outcome {
        let err = String::from_utf8_lossy(&fs::read(&self.err).unwrap()).into_owned();
        Outcome { command: self.text.clone(), code, out: self.stdout(), err }
    }
}

/// Waits until `done` holds; what does not come in time fails the test.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience() / 2;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// One list of words from strings around a path.
pub fn words<'a>(
    before: impl IntoIterator<Item = &'a str>,
    path: &'a Path,
    after: impl IntoIterator<Item = &'a str>,
) -> Vec<&'a OsStr> {
    let before = before.into_iter().map(OsStr::new);
    before.chain([path.as_os_str()]).chain(after.into_iter().map(OsStr::new)).collect()
}
