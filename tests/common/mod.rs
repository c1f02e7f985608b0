//! What the tests share: who calls, where one test lives, bundles, and what must not be left behind.
//!
//! ```text
//!  deeds! ──▶ Kase (one test's home and caller) ──▶ Bundle ──▶ Outcome · Container
//!                └── on drop: leftovers are a failure
//! ```

mod before;
mod bundle;
mod caller;
mod container;
mod ground;
mod kase;
mod leftovers;
mod outcome;
mod peer;
pub mod programs;
mod schema;
mod surroundings;
mod terminal;

pub use before::Before;
pub use bundle::Bundle;
pub use caller::{Caller, is_root, ranges};
pub use container::Container;
pub use ground::{Ground, Setting, cgroups_of};
pub use kase::{Kase, Running, patience, wait_until, words};
pub use outcome::{Outcome, has, value};
pub use peer::{Peer, is_ours, map_ids, peer};
pub use schema::assert_fits;
pub use serde_json::{Value, json};
pub use surroundings::Surroundings;
pub use terminal::Terminal;

/// Makes the tests of a subject: each function named is called once as each caller given, by default
/// as root and as an ordinary user.
///
/// The functions take the [`Kase`] of their test. One that is not listed is dead code, which the
/// compiler tells.
macro_rules! deeds {
    (root: $($name:ident),* $(,)?) => { deeds!(@each $($name)* ; [as_root Root]); };
    (user: $($name:ident),* $(,)?) => { deeds!(@each $($name)* ; [as_user User]); };
    (bare: $($name:ident),* $(,)?) => { deeds!(@each $($name)* ; [as_bare_user Bare]); };
    (all: $($name:ident),* $(,)?) => {
        deeds!(@each $($name)* ; [as_root Root, as_user User, as_bare_user Bare]);
    };
    (@each $($name:ident)* ; $callers:tt) => { $( deeds!(@one $name $callers); )* };
    (@one $name:ident [$($test:ident $caller:ident),*]) => {
        mod $name {
            $(
                #[test]
                fn $test() {
                    $crate::common::Kase::with($crate::common::Caller::$caller, super::$name);
                }
            )*
        }
    };
    ($($name:ident),* $(,)?) => { deeds!(@each $($name)* ; [as_root Root, as_user User]); };
}

/// Makes the tests of a subject of cgroups: each function named is called once in each [`Setting`] that has the
/// controller that is named first (`none` if any will do).
macro_rules! in_settings {
    (each, $needs:ident: $($name:ident),* $(,)?) => {
        in_settings!(@each $needs $($name)* ; [
            v1_as_root V1, v2_as_root V2, systemd_as_root Systemd, systemd_as_user UserSystemd
        ]);
    };
    (root, $needs:ident: $($name:ident),* $(,)?) => {
        in_settings!(@each $needs $($name)* ; [v1_as_root V1, v2_as_root V2, systemd_as_root Systemd]);
    };
    (cgroupfs, $needs:ident: $($name:ident),* $(,)?) => {
        in_settings!(@each $needs $($name)* ; [v1_as_root V1, v2_as_root V2]);
    };
    (v1, $needs:ident: $($name:ident),* $(,)?) => { in_settings!(@each $needs $($name)* ; [v1_as_root V1]); };
    (v2, $needs:ident: $($name:ident),* $(,)?) => {
        in_settings!(@each $needs $($name)* ; [
            v2_as_root V2, systemd_as_root Systemd, systemd_as_user UserSystemd
        ]);
    };
    (systemd, $needs:ident: $($name:ident),* $(,)?) => {
        in_settings!(@each $needs $($name)* ; [systemd_as_root Systemd, systemd_as_user UserSystemd]);
    };
    (@each $needs:ident $($name:ident)* ; $settings:tt) => { $( in_settings!(@one $needs $name $settings); )* };
    (@one $needs:ident $name:ident [$($test:ident $setting:ident),*]) => {
        mod $name {
            $(
                #[test]
                fn $test() {
                    let needs = stringify!($needs);
                    $crate::common::Ground::with($crate::common::Setting::$setting, needs, super::$name);
                }
            )*
        }
    };
}

/// Ends the test as skipped, with the reason.
macro_rules! skip {
    ($($why:tt)*) => {{
        $crate::common::record_skip(&format!($($why)*));
        return;
    }};
}

/// The runtime under test.
pub fn program() -> String {
    programs::kase().to_string_lossy().into_owned()
}

/// Prints why this test cannot run here and adds it to the list that `make test` shows at its end.
pub fn record_skip(why: &str) {
    let thread = std::thread::current();
    let line = format!("{}: {why}\n", thread.name().unwrap_or("a test"));
    print!("skipped {line}");
    if let Some(list) = std::env::var_os("KASE_SKIPPED") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(list);
        std::io::Write::write_all(&mut file.unwrap(), line.as_bytes()).unwrap();
    }
}
