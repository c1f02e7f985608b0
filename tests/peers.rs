//! The same deeds by kase and by Debian's newest crun and runc: what the program, its caller and an engine see is the
//! same, or here stands why it is not.
//!
//! `scripts/peers` brings both. They run as root and as an ordinary user, with their own loader and C library, and see
//! the same files as kase.

mod from_outside;
mod hooks;
mod life;
mod mounts;
mod program;

use crate::common::{Before, Bundle, Kase, Outcome, Peer, is_ours, json, map_ids, words};

/// Asks kase and the peers that are there, each in a home of its own, whose name is not part of the answer.
fn ask(kase: &Kase, question: impl Fn(&Kase) -> String) -> Vec<(&'static str, String)> {
    let peers: Vec<Peer> =
        ["crun", "runc"].into_iter().filter(|_| is_ours()).filter_map(Peer::find).collect();
    if peers.is_empty() {
        return Vec::new();
    }
    let all = [None].into_iter().chain(peers.into_iter().map(Some));
    let answers = all.map(|peer| {
        let name = peer.as_ref().map_or("kase", |peer| peer.name);
        let home = kase.beside(peer);
        (name, question(&home).replace(home.name(), "NAME"))
    });
    answers.collect()
}

/// All answer the same.
fn agree(kase: &Kase, question: impl Fn(&Kase) -> String) {
    let answers = ask(kase, question);
    let [(_, ours), peers @ ..] = answers.as_slice() else { skip!("needs crun and runc of scripts/peers") };
    assert!(peers.iter().all(|(_, theirs)| ours == theirs), "{}", told(&answers));
}

/// kase answers as this peer; `why` says why the other one is no model.
fn side_with(kase: &Kase, peer: &str, why: &str, question: impl Fn(&Kase) -> String) {
    let answers = ask(kase, question);
    let [(_, ours), ..] = answers.as_slice() else { skip!("needs crun and runc of scripts/peers") };
    let Some((_, theirs)) = answers.iter().find(|(name, _)| *name == peer) else {
        skip!("{peer} cannot run here")
    };
    assert!(ours == theirs, "other than {peer} ({why}){}", told(&answers));
}

/// kase answers as neither peer, deliberately: `why`.
fn stand_alone(kase: &Kase, why: &str, question: impl Fn(&Kase) -> String) {
    let answers = ask(kase, question);
    let [(_, ours), peers @ ..] = answers.as_slice() else { skip!("needs crun and runc of scripts/peers") };
    assert!(peers.iter().all(|(_, theirs)| ours != theirs), "no longer so: {why}{}", told(&answers));
}

fn told(answers: &[(&str, String)]) -> String {
    answers.iter().map(|(name, answer)| format!("\n--- {name}\n{answer}")).collect()
}

/// A bundle whose config every runtime takes from this caller.
fn bundle(kase: &Kase) -> Bundle {
    let bundle = kase.bundle();
    if kase.is_root() {
        return bundle;
    }
    bundle.namespace(json!({"type": "user"})).edit(|spec| map_ids(spec, &kase.identity))
}

/// Runs a bundle after something else in the same process.
fn run_after(kase: &Kase, before: &Before, options: &[&str], bundle: &Bundle) -> Outcome {
    let id = kase.id();
    let verb = ["run"].into_iter().chain(options.iter().copied()).chain(["-b"]);
    kase.finish(kase.command_after(before, words(verb, bundle.dir(), [id.as_str()])))
}
