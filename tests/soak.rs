//! Containers that several workers make and end at the same time, each as a random number has it.
//!
//! `make test` makes two hundred, always the same; `make test/soak` as many as its time allows, and then compares what
//! there is on the machine with what there was before. Each command has ended as it has to, and nothing is left.

mod counts;
mod lives;
mod random;

use crate::common::{Caller, Kase, is_ours};
use counts::Counts;
use lives::{Bundles, Worker};
use random::Random;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How many containers `make test` makes.
const NUMBER: usize = 200;
/// A fault that each container has is no news after this many.
const FAULTS: usize = 20;

/// When it is enough.
#[derive(Clone, Copy)]
enum Bound {
    Number(usize),
    Time(Duration),
}

impl Bound {
    /// `KASE_SOAK_TIME` in seconds, or a number.
    fn chosen() -> Self {
        match variable("KASE_SOAK_TIME") {
            Some(seconds) => Self::Time(Duration::from_secs(seconds)),
            None => Self::Number(NUMBER),
        }
    }

    /// How many make containers at once. They mostly wait, for the kernel and for each other; where other tests are
    /// under way, they leave room for these.
    fn workers(self) -> usize {
        match self {
            Self::Number(_) => 4,
            Self::Time(_) => 12,
        }
    }

    fn is_reached(self, made: usize, begun: Instant) -> bool {
        match self {
            Self::Number(number) => made >= number,
            Self::Time(time) => begun.elapsed() >= time,
        }
    }
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
fn containers_come_and_go() {
    if !is_ours() {
        skip!("is about kase");
    }
    let bound = Bound::chosen();
    let seed = variable("KASE_SOAK_SEED").unwrap_or(1);
    // Another test of the same program may be under way, but not in `make test/soak`.
    let mut counts = matches!(bound, Bound::Time(_)).then(Counts::default);
    let text = with_both(|kases| {
        if let Some(counts) = &mut counts {
            // The first containers leave what the kernel and this program keep for the next ones.
            let first = soak(kases, Bound::Number(NUMBER), !seed);
            assert!(first.faults.is_empty(), "{:#?}", first.faults);
            counts.before();
        }
        let done = soak(kases, bound, seed);
        let left: Vec<String> = kases.iter().flat_map(Kase::leftovers).collect();
        let compared = counts.as_mut().map(|counts| counts.after(done.made));
        let (table, grown) = compared.unwrap_or_default();
        let text = format!("{}{table}", done.text(seed));
        if let Some(path) = std::env::var_os("KASE_SOAK_REPORT") {
            std::fs::write(path, &text).unwrap();
        }
        assert!(done.faults.is_empty(), "{text}");
        assert!(left.is_empty(), "left behind: {left:#?}\n{text}");
        assert!(grown.is_empty(), "there is more of {grown:?} than before\n{text}");
        text
    });
    println!("{text}");
}

/// As root and as an ordinary user, or as whom it can be.
fn with_both<T>(deed: impl FnOnce(&[Kase]) -> T) -> T {
    let kases: Vec<Kase> = [Caller::Root, Caller::User].into_iter().filter_map(Kase::of).collect();
    assert!(!kases.is_empty(), "somebody has to make containers");
    deed(&kases)
}

/// What has come of it.
#[derive(Default)]
struct Done {
    made: usize,
    took: Duration,
    workers: usize,
    /// How many containers had which life, by caller and life.
    lives: BTreeMap<String, usize>,
    faults: Vec<String>,
}

impl Done {
    fn text(&self, seed: u64) -> String {
        let Self { made, took, workers, lives, faults } = self;
        let mut text = format!(
            "{made} containers in {:.0} seconds by {workers} workers (seed {seed}), {} with a wrong end\n",
            took.as_secs_f32(),
            faults.len()
        );
        lives.iter().for_each(|(life, number)| text += &format!("  {number:>7} {life}\n"));
        faults.iter().for_each(|fault| text += &format!("  amiss: {fault}\n"));
        text
    }
}

fn soak(kases: &[Kase], bound: Bound, seed: u64) -> Done {
    let (begun, made) = (Instant::now(), AtomicUsize::new(0));
    let bundles: Vec<Bundles> = kases.iter().map(Bundles::of).collect();
    let mut done = Done { workers: bound.workers(), ..Done::default() };
    std::thread::scope(|scope| {
        let work = |number: usize| {
            let (kase, bundles) = (&kases[number % kases.len()], &bundles[number % kases.len()]);
            let mut worker = Worker::new(kase, bundles, Random::new(seed.wrapping_add(number as u64)));
            while !bound.is_reached(made.fetch_add(1, Ordering::Relaxed), begun)
                && worker.faults.len() < FAULTS
            {
                worker.live();
            }
            worker
        };
        let workers: Vec<_> = (0..done.workers).map(|number| scope.spawn(move || work(number))).collect();
        for worker in workers {
            let worker = worker.join().expect("a worker has ended by itself");
            for (life, number) in worker.lives {
                *done.lives.entry(life).or_default() += number;
                done.made += number;
            }
            done.faults.extend(worker.faults);
        }
    });
    done.took = begun.elapsed();
    done
}
