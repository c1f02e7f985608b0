//! What an architecture answers at each of its calls, by number.

use super::arch::Arch;
use super::conditions::Rule;

/// What an architecture does at one of its calls.
#[derive(Clone, Debug, Default)]
pub(super) enum Answer {
    #[default]
    Default,
    Action(u32),
    /// By its arguments.
    Rules(Vec<Rule>),
}

/// An architecture's answers, by number.
pub(super) struct Answers {
    pub slots: Slots,
    /// From which number on a call is newer than the profile, if that gives ENOSYS.
    pub newer_from: Option<u32>,
}

impl Answers {
    /// Each answer once, the default first.
    pub fn each(&self) -> &[Answer] {
        &self.slots.answers
    }

    /// Tells the numbers that have another answer than the default, ascending, with the index of that in
    /// [`each`](Self::each).
    pub fn calls(&self, mut tell: impl FnMut(u32, usize)) {
        let Slots { first, near, far, .. } = &self.slots;
        for (at, answer) in near.iter().enumerate() {
            if *answer != DEFAULT {
                tell(first + at as u32, usize::from(*answer));
            }
        }
        for (number, answer) in far.iter().filter(|(_, answer)| *answer != DEFAULT) {
            tell(*number, usize::from(*answer));
        }
    }
}

/// Answers by number, kept in a field as wide as the numbers that the architecture uses.
pub(super) struct Slots {
    first: u32,
    /// Of each number from the first on, the index of its answer.
    near: Vec<u16>,
    /// The same of numbers far from the others, ascending: arm's private calls.
    far: Vec<(u32, u16)>,
    /// The default, each action, and the rules of each number that has some.
    pub answers: Vec<Answer>,
}

/// The index of the default.
const DEFAULT: u16 = 0;

/// No architecture has a call more than this many numbers above its first one, but for arm's private
/// ones.
const SPAN: u32 = 640;

impl Slots {
    pub fn new(arch: Arch) -> Self {
        Self {
            first: arch.first_number(),
            near: vec![DEFAULT; SPAN as usize],
            far: Vec::new(),
            answers: vec![Answer::Default],
        }
    }

    pub fn at(&mut self, number: u32) -> &mut u16 {
        let near = number.wrapping_sub(self.first) as usize;
        if near < self.near.len() {
            return &mut self.near[near];
        }
        let at = match self.far.binary_search_by_key(&number, |far| far.0) {
            Ok(at) => at,
            Err(at) => {
                self.far.insert(at, (number, DEFAULT));
                at
            }
        };
        &mut self.far[at].1
    }

    /// A rule without conditions decides alone; the others are kept, until there is one.
    pub fn add(&mut self, number: u32, rule: Rule) {
        if rule.conditions.is_empty() {
            return self.decide(number, rule.action);
        }
        let index = *self.at(number);
        match &mut self.answers[usize::from(index)] {
            Answer::Action(_) => {}
            Answer::Rules(rules) => rules.push(rule),
            Answer::Default => *self.at(number) = self.keep(Answer::Rules(vec![rule])),
        }
    }

    pub fn decide(&mut self, number: u32, action: u32) {
        let index = *self.at(number);
        match &mut self.answers[usize::from(index)] {
            Answer::Action(_) => return,
            // No number leads to these rules any more, so nothing has to be made for them.
            superseded => *superseded = Answer::Default,
        }
        *self.at(number) = self.action(action);
    }

    /// The index of an action.
    pub fn action(&mut self, action: u32) -> u16 {
        let is_it = |answer: &Answer| matches!(answer, Answer::Action(there) if *there == action);
        match self.answers.iter().position(is_it) {
            Some(index) => index as u16,
            None => self.keep(Answer::Action(action)),
        }
    }

    fn keep(&mut self, answer: Answer) -> u16 {
        self.answers.push(answer);
        self.answers.len() as u16 - 1
    }
}
