//! Each command with one failing system call, or with one of its processes killed at a call.
//!
//! `make test` meets a thousand of these points, spread evenly; `make test/chaos` as many as its time allows. After
//! each the command has ended, with the right code, one line of error if it failed, and nothing lost or left behind.

mod deeds;
mod errnos;
mod points;
mod races;
mod trial;

use crate::common::{Caller, Kase, is_ours, is_root};
use deeds::Deed;
use trial::{Bound, Trial};

macro_rules! disturbed {
    ($($name:ident $deed:ident $share:literal;)*) => {
        $( mod $name {
            #[test]
            fn as_root() {
                super::disturb(super::Caller::Root, super::Deed::$deed, stringify!($name as_root), $share);
            }
            #[test]
            fn as_user() {
                super::disturb(super::Caller::User, super::Deed::$deed, stringify!($name as_user), $share);
            }
        } )*
        /// How many tests share the time.
        const TESTS: u32 = 2 * [$($share),*].len() as u32;
    };
}

// The number is how many points of it `make test` has.
disturbed! {
    create Create 125;
    start Start 125;
    delete Delete 125;
    exec Exec 125;
    run Run 10;
    run_detached RunDetached 10;
    exec_detached ExecDetached 10;
    kill Kill 10;
    state State 10;
    list List 10;
    pause Pause 10;
    resume Resume 10;
    delete_force DeleteForce 10;
}

mod races_of_two {
    #[test]
    fn as_root() {
        super::race(super::Caller::Root);
    }
    #[test]
    fn as_user() {
        super::race(super::Caller::User);
    }
}

/// Of two commands at once, in `make test` so many times.
fn race(caller: Caller) {
    if !is_ours() {
        skip!("is about kase");
    }
    let bound = Bound::chosen(100, TESTS);
    Kase::with(caller, |kase| races::Races::new(kase).run(&bound));
}

fn disturb(caller: Caller, deed: Deed, name: &str, share: usize) {
    if !is_ours() {
        skip!("is about kase");
    }
    if caller == Caller::User && !is_root() {
        skip!("setuid helpers keep their rights under ptrace only if root traces");
    }
    let bound = Bound::chosen(share, TESTS);
    Kase::with(caller, |kase| Trial::new(kase, deed, name).meet(&bound));
}
