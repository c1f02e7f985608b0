//! From answers per number to comparisons: the architecture first, then a search over runs of numbers
//! that have equal answers.

use super::answers::Answer;
use super::arch::{Arch, X32_BIT};
use super::conditions;
use super::graph::{Compare, Graph, Node};
use super::program::Refusal;
use super::rules::{KILL_THREAD, NO_SUCH_CALL, Rules};

// Offsets in struct seccomp_data.
const NUMBER: u32 = 0;
const AUDIT: u32 = 4;

/// A process that is about to skip a call, as its tracer told it to, comes with this number; it is no
/// x32 call although it has the bit.
const SKIPPED: u32 = u32::MAX;

/// Numbers from `start` to the next run's, and where they lead.
#[derive(Clone, Copy, Debug)]
struct Run {
    start: u32,
    to: Node,
    /// How often the kernel runs the program for it when it goes in. Once `sum` is done, for it and all before it.
    weight: u64,
}

/// The whole program: which architecture, then which call.
pub(super) fn dispatch(graph: &mut Graph, rules: &Rules) -> Result<Node, Refusal> {
    let mut architectures = rules.architectures.clone();
    // x32 has the same AUDIT_ARCH as x86_64, so one branch of the program serves both.
    if architectures.contains(&Arch::X86_64) {
        architectures.retain(|&arch| arch != Arch::X32);
    }
    // A program is made from its end. The host's own architecture is compared first, so it is made last.
    let mut next = graph.answer(KILL_THREAD);
    for arch in architectures.into_iter().rev() {
        let calls = match arch {
            Arch::X86_64 | Arch::X32 => x86_64_and_x32(graph, rules)?,
            _ => {
                let mut runs = runs(graph, rules, arch)?;
                sum(&mut runs);
                search(graph, &runs, 0)
            }
        };
        let calls = graph.load(NUMBER, calls);
        next = graph.test(Compare::Equal, arch.audit(), calls, next);
    }
    Ok(graph.load(AUDIT, next))
}

/// The two share an audit number, and a bit of the call number tells them apart. One that the profile
/// does not list is a foreign architecture.
fn x86_64_and_x32(graph: &mut Graph, rules: &Rules) -> Result<Node, Refusal> {
    let foreign = graph.answer(KILL_THREAD);
    let mut both = if rules.architectures.contains(&Arch::X86_64) {
        runs(graph, rules, Arch::X86_64)?
    } else {
        vec![Run::new(0, foreign)]
    };
    if rules.architectures.contains(&Arch::X32) {
        let x32 = runs(graph, rules, Arch::X32)?;
        both.extend(x32.into_iter().filter(|run| run.start >= X32_BIT));
    } else {
        let default = graph.answer(rules.default);
        both.extend([Run::new(X32_BIT, foreign), Run::new(SKIPPED, default)]);
    }
    both.dedup_by_key(|run| run.to);
    sum(&mut both);
    Ok(search(graph, &both, 0))
}

/// An architecture's answers as runs, from number 0 on.
fn runs(graph: &mut Graph, rules: &Rules, arch: Arch) -> Result<Vec<Run>, Refusal> {
    let default = graph.answer(rules.default);
    let newer = graph.answer(NO_SUCH_CALL);
    let answers = rules.answers(arch)?;
    let newer_from = answers.newer_from.unwrap_or(u32::MAX);
    let mut made: Vec<Option<Node>> = vec![None; answers.each().len()];
    let unlisted = |number| if number >= newer_from { newer } else { default };

    let mut runs: Vec<Run> = Vec::with_capacity(128);
    let mut add = |start, to| {
        if runs.last().is_none_or(|last| last.to != to) {
            runs.push(Run::new(start, to));
        }
    };
    // The numbers of x32 are those of x86_64 with this bit set.
    let mut next = if arch == Arch::X32 { X32_BIT } else { 0 };
    let mut latest = None;
    answers.calls(|number, index| {
        // Most numbers only make the run before them longer.
        if number == next && latest == Some(index) {
            next += 1;
            return;
        }
        if number > next {
            add(next, unlisted(next));
            if next < newer_from && number > newer_from {
                add(newer_from, newer);
            }
        }
        // An answer is made for the first number that has it: instructions lie in the order in which they are made.
        let to = *made[index].get_or_insert_with(|| match &answers.each()[index] {
            Answer::Default => default,
            Answer::Action(value) => graph.answer(*value),
            Answer::Rules(listed) => conditions::decide(graph, arch, listed, default),
        });
        add(number, to);
        (next, latest) = (number + 1, Some(index));
    });
    add(next, unlisted(next));
    if next < newer_from && newer_from < u32::MAX {
        add(newer_from, newer);
    }
    weigh(&mut runs, arch);
    Ok(runs)
}

/// Count the numbers of each run for which the kernel runs the program when it goes in: those it has
/// calls for, but for x32's, which it always asks about.
fn weigh(runs: &mut [Run], arch: Arch) {
    if arch == Arch::X32 {
        return;
    }
    let (first, end) = (arch.first_number(), arch.first_number() + NUMBERS_RUN);
    for at in 0..runs.len() {
        let until = runs.get(at + 1).map_or(u32::MAX, |next| next.start);
        let numbers = until.clamp(first, end) - runs[at].start.clamp(first, end);
        runs[at].weight = 1 + 16 * u64::from(numbers);
    }
}

/// How many numbers a kernel has, about: 6.18 has 470 on x86_64.
const NUMBERS_RUN: u32 = 472;

/// Adds to each weight those before it, so that that of any row of them is a difference.
fn sum(runs: &mut [Run]) {
    let mut before = 0;
    for run in runs {
        before += run.weight;
        run.weight = before;
    }
}

impl Run {
    fn new(start: u32, to: Node) -> Self {
        Self { start, to, weight: 1 }
    }
}

/// The comparisons that find the run of a number.
///
/// When the filter goes in, an instruction costs about 0.1 µs and a comparison on the way to every number
/// 2.7 µs. Halving the weight and picking out up to two single numbers gives Docker's profile 4.8
/// comparisons a number on x86_64 and 6.3 on x86; the best of all such trees has no fewer. `before` is the sum of the
/// weights before these.
fn search(graph: &mut Graph, runs: &[Run], before: u64) -> Node {
    if let [run] = runs {
        return run.to;
    }
    if let Some(usual) = usual(runs) {
        // What is made last is compared first.
        let single = runs.iter().rev().filter(|run| run.to != usual);
        return single.fold(usual, |others, run| graph.test(Compare::Equal, run.start, run.to, others));
    }
    let (left, right) = runs.split_at(middle(runs, before));
    let (below, above) = (search(graph, left, before), search(graph, right, left[left.len() - 1].weight));
    graph.test(Compare::AtLeast, right[0].start, above, below)
}

/// What the runs lead to, but for one or two that are single numbers: those can be asked for by
/// themselves.
fn usual(runs: &[Run]) -> Option<Node> {
    let is_single = |at: usize| runs.get(at + 1).is_some_and(|next| next.start == runs[at].start + 1);
    runs[..2].iter().map(|run| run.to).find(|&usual| {
        let mut others = (0..runs.len()).filter(|&at| runs[at].to != usual);
        let first_two = others.by_ref().take(2).all(is_single);
        first_two && others.next().is_none()
    })
}

/// Where to halve the weight.
fn middle(runs: &[Run], before: u64) -> usize {
    let total = runs[runs.len() - 1].weight - before;
    let left = |at: usize| runs[at - 1].weight - before;
    // Of the first place that has half of the weight or more on its left, and the one before it, the one that is
    // nearer to half.
    let over = 1 + runs[..runs.len() - 1].partition_point(|run| 2 * (run.weight - before) < total);
    let near = |at: usize| (2 * left(at)).abs_diff(total);
    match over {
        over if over == runs.len() => over - 1,
        over if over > 1 && near(over - 1) <= near(over) => over - 1,
        over => over,
    }
}
