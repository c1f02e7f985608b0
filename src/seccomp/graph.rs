//! A program as a graph of comparisons with equal parts shared, and its layout as BPF.
//!
//! BPF jumps forward only, and a node is always made after those it leads to: so the nodes in the
//! order of their making are the program from its end to its beginning.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// One BPF instruction: `struct sock_filter`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(C)]
pub struct Instruction {
    pub code: u16,
    /// How many instructions to skip if the comparison holds.
    pub jt: u8,
    /// How many to skip if it does not.
    pub jf: u8,
    pub k: u32,
}

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// How a comparison looks at the accumulator and its operand.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u16)]
pub(super) enum Compare {
    Equal = 0x15,   // BPF_JMP | BPF_JEQ | BPF_K
    Above = 0x25,   // BPF_JMP | BPF_JGT | BPF_K
    AtLeast = 0x35, // BPF_JMP | BPF_JGE | BPF_K
    AnyBit = 0x45,  // BPF_JMP | BPF_JSET | BPF_K
}

/// A place in the program.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, PartialOrd)]
pub(super) struct Node(u32);

#[derive(Clone, Copy, Eq, PartialEq)]
enum Part {
    Return(u32),
    Test(Compare, u32, Node, Node),
    Load(u32, Node),
    And(u32, Node),
}

/// Every part made so far, each once.
pub(super) struct Graph {
    parts: Vec<Part>,
    made: HashMap<Part, Node, BuildHasherDefault<Mix>>,
}

impl Graph {
    /// Empty, with room for an engine's profile: Docker's takes 700.
    pub fn new() -> Self {
        const USUAL: usize = 768;
        Self {
            parts: Vec::with_capacity(USUAL),
            made: HashMap::with_capacity_and_hasher(USUAL, BuildHasherDefault::default()),
        }
    }

    /// Answer with a `SECCOMP_RET_*` value.
    pub fn answer(&mut self, value: u32) -> Node {
        self.make(Part::Return(value))
    }

    /// Go on at `yes` if the comparison of the accumulator with `operand` holds, else at `no`.
    pub fn test(&mut self, compare: Compare, operand: u32, yes: Node, no: Node) -> Node {
        match (compare, operand) {
            _ if yes == no => yes,
            (Compare::AtLeast, 0) => yes,
            (Compare::Above, u32::MAX) => no,
            _ => self.make(Part::Test(compare, operand, yes, no)),
        }
    }

    /// Load the word at this offset of `struct seccomp_data`.
    pub fn load(&mut self, offset: u32, then: Node) -> Node {
        match self.parts[then.0 as usize] {
            // What does not look at the accumulator needs no load, and a second load makes the first
            // one idle.
            Part::Return(_) | Part::Load(..) => then,
            _ => self.make(Part::Load(offset, then)),
        }
    }

    /// Keep only these bits of the accumulator.
    pub fn and(&mut self, mask: u32, then: Node) -> Node {
        self.make(Part::And(mask, then))
    }

    fn make(&mut self, part: Part) -> Node {
        *self.made.entry(part).or_insert_with(|| {
            self.parts.push(part);
            Node(self.parts.len() as u32 - 1)
        })
    }

    /// The program that starts at `root`.
    pub fn assemble(&self, root: Node) -> Vec<Instruction> {
        let reached = self.reached(root);
        let mut layout =
            Layout { backward: Vec::with_capacity(reached.len()), placed: vec![0; self.parts.len()] };
        for (at, part) in self.parts.iter().enumerate() {
            if !reached[at] {
                continue;
            }
            match *part {
                Part::Return(value) => layout.push(RETURN, 0, 0, value),
                Part::Load(offset, then) => {
                    layout.lead_to(then);
                    layout.push(LOAD, 0, 0, offset);
                }
                Part::And(mask, then) => {
                    layout.lead_to(then);
                    layout.push(AND, 0, 0, mask);
                }
                Part::Test(compare, operand, yes, no) => {
                    self.bring_near(&mut layout, yes, no);
                    let (jt, jf) = (layout.distance(yes), layout.distance(no));
                    layout.push(compare as u16, jt as u8, jf as u8, operand);
                }
            }
            layout.placed[at] = layout.backward.len() - 1;
        }
        layout.backward.reverse();
        layout.backward
    }

    fn reached(&self, root: Node) -> Vec<bool> {
        let mut reached = vec![false; self.parts.len()];
        reached[root.0 as usize] = true;
        for at in (0..=root.0 as usize).rev() {
            if !reached[at] {
                continue;
            }
            match self.parts[at] {
                Part::Return(_) => {}
                Part::Load(_, then) | Part::And(_, then) => reached[then.0 as usize] = true,
                Part::Test(_, _, yes, no) => {
                    reached[yes.0 as usize] = true;
                    reached[no.0 as usize] = true;
                }
            }
        }
        reached
    }

    /// A comparison skips 255 instructions at most. What is farther gets a copy here if it is an answer,
    /// else a jump, and whoever comes next finds that one.
    fn bring_near(&self, layout: &mut Layout, yes: Node, no: Node) {
        let far = usize::from(u8::MAX);
        // This loop ends after two rounds at most, although each moves the other target one instruction further away.
        while let Some(node) = [yes, no].into_iter().find(|&node| layout.distance(node) > far) {
            match self.parts[node.0 as usize] {
                Part::Return(value) => layout.push(RETURN, 0, 0, value),
                _ => {
                    let distance = layout.distance(node);
                    layout.push(JUMP, 0, 0, distance as u32);
                }
            }
            layout.placed[node.0 as usize] = layout.backward.len() - 1;
        }
    }
}

struct Layout {
    /// The program from its end.
    backward: Vec<Instruction>,
    /// Where in it a node begins.
    placed: Vec<usize>,
}

impl Layout {
    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) {
        self.backward.push(Instruction { code, jt, jf, k });
    }

    /// How many instructions lie between the next one and `node`.
    fn distance(&self, node: Node) -> usize {
        self.backward.len() - 1 - self.placed[node.0 as usize]
    }

    /// Make `node` what follows the next instruction.
    fn lead_to(&mut self, node: Node) {
        let distance = self.distance(node);
        if distance > 0 {
            self.push(JUMP, 0, 0, distance as u32);
        }
    }
}

impl std::hash::Hash for Part {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (kind, a, b, c) = match *self {
            Self::Return(value) => (0, value, 0, 0),
            Self::Test(compare, operand, yes, no) => (compare as u32, operand, yes.0, no.0),
            Self::Load(offset, then) => (1, offset, then.0, 0),
            Self::And(mask, then) => (2, mask, then.0, 0),
        };
        state.write_u64(u64::from(kind) << 32 | u64::from(a));
        state.write_u64(u64::from(b) << 32 | u64::from(c));
    }
}

/// A quick hash of a part's numbers. That a profile could be written whose parts collide is no harm: it
/// would slow down its own container.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 29
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }
}
