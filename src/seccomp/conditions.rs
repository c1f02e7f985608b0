//! Conditions on arguments: what a rule asks of the six registers, and the comparisons that find out.
//!
//! A filter sees words of 32 bits, so a 64-bit comparison looks at the upper half first and at the
//! lower half where that one is equal. Neighbouring rules that start with the same look at the same
//! word share it.

use super::arch::{Arch, Endian, Width};
use super::graph::{Compare, Graph, Node};
use oci_spec::runtime::{LinuxSeccompArg, LinuxSeccompOperator};
use std::cmp::{Ordering, Reverse};

/// One condition, as the profile has it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Condition {
    /// Which argument, 0 to 5.
    pub index: u32,
    pub operator: LinuxSeccompOperator,
    /// What to compare with; where only some bits count, those.
    pub value: u64,
    /// Which bits count: all, but for `SCMP_CMP_MASKED_EQ`.
    pub mask: u64,
}

impl From<&LinuxSeccompArg> for Condition {
    fn from(arg: &LinuxSeccompArg) -> Self {
        let (value, mask) = match arg.op() {
            LinuxSeccompOperator::ScmpCmpMaskedEq => {
                (arg.value_two().unwrap_or(0) & arg.value(), arg.value())
            }
            _ => (arg.value(), u64::MAX),
        };
        Self { index: arg.index() as u32, operator: arg.op(), value, mask }
    }
}

impl Condition {
    /// The condition as an architecture sees it, `None` if it always holds.
    pub fn narrowed(self, width: Width) -> Option<Self> {
        let seen = match width {
            Width::Bits64 => u64::MAX,
            Width::Bits32 => u64::from(u32::MAX),
        };
        (self.mask & seen != 0).then_some(Self { value: self.value & seen, mask: self.mask & seen, ..self })
    }

    /// Which of two conditions is asked first, as libseccomp sorts them: later arguments before
    /// earlier ones, equality before lower bounds before upper bounds, and of two bounds the
    /// narrower one.
    fn order(&self, other: &Self) -> Ordering {
        let class = |operator| match operator {
            LinuxSeccompOperator::ScmpCmpEq
            | LinuxSeccompOperator::ScmpCmpNe
            | LinuxSeccompOperator::ScmpCmpMaskedEq => 0,
            LinuxSeccompOperator::ScmpCmpLt | LinuxSeccompOperator::ScmpCmpLe => 1,
            LinuxSeccompOperator::ScmpCmpGt | LinuxSeccompOperator::ScmpCmpGe => 2,
        };
        let classes = (class(self.operator), class(other.operator));
        other.index.cmp(&self.index).then(classes.0.cmp(&classes.1)).then_with(|| match classes.0 {
            1 => self.value.cmp(&other.value),
            _ => Reverse(self.value).cmp(&Reverse(other.value)),
        })
    }
}

/// An action and the conditions that must all hold for it, sorted by argument.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub conditions: Vec<Condition>,
    pub action: u32,
    /// Which entry of `linux.seccomp.syscalls` it is from.
    pub entry: usize,
}

/// Sort a call's rules into the order in which they are asked; the first that holds decides. A rule
/// whose conditions are the beginning of another's comes before it; what ties stays as listed.
pub(super) fn sort(rules: &mut [Rule]) {
    rules.sort_by(|a, b| {
        let pairs = a.conditions.iter().zip(&b.conditions);
        pairs
            .map(|(a, b)| a.order(b))
            .find(|order| order.is_ne())
            .unwrap_or_else(|| a.conditions.len().cmp(&b.conditions.len()))
    });
}

/// The comparisons that decide by sorted `rules`, and lead to `otherwise` where none holds.
pub(super) fn decide(graph: &mut Graph, arch: Arch, rules: &[Rule], otherwise: Node) -> Node {
    let steps: Vec<Vec<Step>> = rules
        .iter()
        .map(|rule| {
            rule.conditions.iter().flat_map(|condition| Step::of(condition, arch)).flatten().collect()
        })
        .collect();
    let states: Vec<State> =
        rules.iter().zip(&steps).map(|(rule, steps)| State::new(steps, graph.answer(rule.action))).collect();
    choose(graph, &states, otherwise, None)
}

/// One comparison of a word in `struct seccomp_data`.
#[derive(Clone, Copy, Eq, PartialEq)]
struct Look {
    offset: u32,
    mask: u32,
    compare: Compare,
    value: u32,
}

/// What a rule asks next.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Step {
    /// A word, and whether the comparison must hold or must not.
    Word(Look, bool),
    /// Both words: if the upper one equals `upper.value`, the lower one decides; below and above it
    /// the condition holds or not by itself.
    Both { upper: Look, below: bool, above: bool, lower: (Look, bool) },
}

impl Step {
    /// A condition's steps: one, or two for a mask over both words.
    fn of(condition: &Condition, arch: Arch) -> [Option<Self>; 2] {
        use LinuxSeccompOperator as Operator;
        let halves = |number: u64| ((number >> 32) as u32, number as u32);
        let ((upper_mask, lower_mask), (upper, lower)) = (halves(condition.mask), halves(condition.value));
        let start = 16 + 8 * condition.index;
        let (upper_offset, lower_offset) = match arch.endian() {
            Endian::Little => (start + 4, start),
            Endian::Big => (start, start + 4),
        };
        let look = |offset, mask, compare, value| Look { offset, mask, compare, value };
        let (compare, holds, below, above) = match condition.operator {
            Operator::ScmpCmpMaskedEq => {
                let word = |offset, mask, value| {
                    (mask != 0).then(|| Self::Word(look(offset, mask, Compare::Equal, value), true))
                };
                return [word(upper_offset, upper_mask, upper), word(lower_offset, lower_mask, lower)];
            }
            Operator::ScmpCmpEq => (Compare::Equal, true, false, false),
            Operator::ScmpCmpNe => (Compare::Equal, false, true, true),
            Operator::ScmpCmpLt => (Compare::AtLeast, false, true, false),
            Operator::ScmpCmpLe => (Compare::Above, false, true, false),
            Operator::ScmpCmpGe => (Compare::AtLeast, true, false, true),
            Operator::ScmpCmpGt => (Compare::Above, true, false, true),
        };
        let lower = (look(lower_offset, u32::MAX, compare, lower), holds);
        let step = match arch.width() {
            Width::Bits32 => Self::Word(lower.0, lower.1),
            Width::Bits64 => {
                Self::Both { upper: look(upper_offset, u32::MAX, Compare::Equal, upper), below, above, lower }
            }
        };
        [Some(step), None]
    }

    /// Do two rules that start with these steps start with the same look?
    fn shares_its_look_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Word(a, _), Self::Word(b, _)) => a == b,
            (Self::Both { upper: a, .. }, Self::Both { upper: b, .. }) => a == b,
            _ => false,
        }
    }
}

/// A rule of which some steps are done.
#[derive(Clone, Copy, Eq, PartialEq)]
struct State<'a> {
    /// The next step, `None` if all conditions hold.
    next: Option<Step>,
    later: &'a [Step],
    answer: Node,
}

impl<'a> State<'a> {
    fn new(steps: &'a [Step], answer: Node) -> Self {
        Self { next: steps.first().copied(), later: steps.get(1..).unwrap_or_default(), answer }
    }

    /// The rule after its next step came out well.
    fn advanced(&self) -> Self {
        Self::new(self.later, self.answer)
    }
}

/// Decide by `rules` in their order. `loaded` is the word that the accumulator holds whichever way the
/// program comes here.
fn choose(graph: &mut Graph, rules: &[State], otherwise: Node, loaded: Option<u32>) -> Node {
    // Forward: rules in a row that compare the same word are a group, and each group leaves some word loaded.
    let mut groups = Vec::new();
    let (mut rest, mut here, mut after) = (rules, loaded, otherwise);
    while let Some(first) = rest.first() {
        let Some(step) = first.next else {
            // This rule holds without a further comparison, so those behind it are never reached.
            after = first.answer;
            break;
        };
        let alike = |rule: &&State| rule.next.is_some_and(|next| next.shares_its_look_with(&step));
        let (group, others) = rest.split_at(rest.iter().take_while(alike).count());
        groups.push((step, group, here));
        here = match step {
            Step::Word(look, _)
                if look.keeps_the_word() && group.iter().all(|rule| rule.later.is_empty()) =>
            {
                Some(look.offset)
            }
            _ => None,
        };
        rest = others;
    }
    // Backward: where none of a group's rules holds, the program goes on with the next group, which is made by then.
    for (step, group, here) in groups.into_iter().rev() {
        after = match step {
            Step::Word(look, _) => choose_by_word(graph, look, group, after, here),
            Step::Both { upper, .. } => choose_by_both(graph, upper, group, after, here),
        };
    }
    after
}

fn choose_by_word(
    graph: &mut Graph,
    look: Look,
    group: &[State],
    otherwise: Node,
    loaded: Option<u32>,
) -> Node {
    let left = look.keeps_the_word().then_some(look.offset);
    let mut branch = |wanted| {
        let rules: Vec<State> = group
            .iter()
            .filter(|rule| matches!(rule.next, Some(Step::Word(_, holds)) if holds == wanted))
            .map(State::advanced)
            .collect();
        choose(graph, &rules, otherwise, left)
    };
    let (yes, no) = (branch(true), branch(false));
    look.node(graph, yes, no, loaded)
}

fn choose_by_both<'a>(
    graph: &mut Graph,
    upper: Look,
    group: &[State<'a>],
    otherwise: Node,
    loaded: Option<u32>,
) -> Node {
    let mut branch = |pick: &dyn Fn(&State<'a>) -> Option<State<'a>>| {
        let rules: Vec<State> = group.iter().filter_map(pick).collect();
        choose(graph, &rules, otherwise, Some(upper.offset))
    };
    let decided = |rule: &State<'a>, above_it: bool| match rule.next {
        Some(Step::Both { below, above, .. }) => {
            (if above_it { above } else { below }).then(|| rule.advanced())
        }
        _ => None,
    };
    let equal = branch(&|rule| match rule.next {
        Some(Step::Both { lower, .. }) => Some(State { next: Some(Step::Word(lower.0, lower.1)), ..*rule }),
        _ => None,
    });
    // Nothing is below 0, nor above the highest word.
    let above = (upper.value != u32::MAX).then(|| branch(&|rule| decided(rule, true)));
    let alike = group.iter().all(|rule| decided(rule, true) == decided(rule, false));
    let below = match above {
        Some(_) if alike || upper.value == 0 => None,
        _ => Some(branch(&|rule| decided(rule, false))),
    };
    match (below, above) {
        (Some(below), Some(above)) if below != above => {
            let unequal = Look { compare: Compare::Above, ..upper };
            let rest = upper.node(graph, equal, below, Some(upper.offset));
            unequal.node(graph, above, rest, loaded)
        }
        (Some(other), _) | (None, Some(other)) => upper.node(graph, equal, other, loaded),
        (None, None) => equal, // Not reached: one of the two is always there.
    }
}

impl Look {
    /// Does the accumulator still hold the word after the comparison, not only some bits of it?
    fn keeps_the_word(&self) -> bool {
        self.mask == u32::MAX || self.value == 0 || self.is_one_bit()
    }

    fn is_one_bit(&self) -> bool {
        self.value == self.mask && self.mask.is_power_of_two()
    }

    fn node(&self, graph: &mut Graph, yes: Node, no: Node, loaded: Option<u32>) -> Node {
        let test = if self.mask == u32::MAX {
            graph.test(self.compare, self.value, yes, no)
        } else if self.value == 0 {
            graph.test(Compare::AnyBit, self.mask, no, yes)
        } else if self.is_one_bit() {
            graph.test(Compare::AnyBit, self.mask, yes, no)
        } else {
            let equal = graph.test(self.compare, self.value, yes, no);
            if yes == no {
                return yes;
            }
            graph.and(self.mask, equal)
        };
        if yes == no || loaded == Some(self.offset) { test } else { graph.load(self.offset, test) }
    }
}
