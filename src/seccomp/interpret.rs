//! The kernel's side of a filter: runs a program on a call, and checks that the kernel
//! would take it.

use super::graph::Instruction;

/// `struct seccomp_data`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Data {
    pub number: u32,
    /// The architecture's audit number.
    pub audit: u32,
    pub args: [u64; 6],
}

/// What a program answers, and how many instructions that took.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Outcome {
    /// A `SECCOMP_RET_*` value.
    pub answer: u32,
    /// Instructions run.
    pub steps: u32,
    /// Did the program look at anything but the number and the architecture? Else the kernel keeps
    /// the answer if it allows the call.
    pub looked: bool,
}

impl Data {
    /// A call without arguments.
    #[cfg(any(test, fuzzing))]
    pub fn new(number: u32, audit: u32) -> Self {
        Self { number, audit, args: [0; 6] }
    }

    fn word(&self, offset: u32, big_endian: bool) -> u32 {
        match offset {
            0 => self.number,
            4 => self.audit,
            16..64 => {
                let arg = self.args[(offset as usize - 16) / 8];
                let upper = (offset % 8 == 4) != big_endian;
                if upper { (arg >> 32) as u32 } else { arg as u32 }
            }
            _ => panic!("a load at {offset}"),
        }
    }
}

/// Run a program.
pub fn run(program: &[Instruction], data: &Data, big_endian: bool) -> Outcome {
    let (mut at, mut accumulator, mut steps, mut looked) = (0, 0, 0, false);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        at += 1;
        steps += 1;
        let test = match code {
            0x20 => {
                accumulator = data.word(k, big_endian);
                looked |= k >= 8;
                continue;
            }
            0x54 => {
                accumulator &= k;
                continue;
            }
            0x05 => {
                at += k as usize;
                continue;
            }
            0x06 => {
                return Outcome { answer: k, steps, looked };
            }
            0x15 => accumulator == k,
            0x25 => accumulator > k,
            0x35 => accumulator >= k,
            0x45 => accumulator & k != 0,
            _ => panic!("instruction {code:#x}"),
        };
        at += usize::from(if test { jt } else { jf });
    }
}

/// Would the kernel take the program, and can it be [run] here? Every jump stays inside, it ends with an answer, and
/// does not look at where the call comes from, as no program of ours does.
pub fn is_sound(program: &[Instruction]) -> bool {
    let inside = |at: usize, skip: usize| at + 1 + skip < program.len();
    let whole = program.iter().enumerate().all(|(at, instruction)| match instruction.code {
        0x06 => true,
        0x20 => inside(at, 0) && instruction.k % 4 == 0 && matches!(instruction.k, 0..8 | 16..64),
        0x54 => inside(at, 0),
        0x05 => inside(at, instruction.k as usize),
        0x15 | 0x25 | 0x35 | 0x45 => inside(at, instruction.jt.into()) && inside(at, instruction.jf.into()),
        _ => false,
    });
    whole && program.len() <= 4096 && program.last().is_some_and(|last| last.code == 0x06)
}

/// A program in words, one instruction a line.
#[cfg(any(test, fuzzing))]
pub fn text(program: &[Instruction]) -> String {
    let line = |(at, i): (usize, &Instruction)| {
        let to = |skip: u8| at + 1 + usize::from(skip);
        let test = |sign| format!("if {sign} {:#x} {} else {}", i.k, to(i.jt), to(i.jf));
        let words = match i.code {
            0x20 => format!("load {}", i.k),
            0x54 => format!("and {:#x}", i.k),
            0x05 => format!("go to {}", at + 1 + i.k as usize),
            0x06 => format!("answer {:#x}", i.k),
            0x15 => test("=="),
            0x25 => test(">"),
            0x35 => test(">="),
            0x45 => test("&"),
            code => format!("{code:#x}"),
        };
        format!("{at:3} {words}\n")
    };
    program.iter().enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sound_can_be_run() {
        let answer = Instruction { code: 0x06, jt: 0, jf: 0, k: 0 };
        for k in 0..80 {
            let program = [Instruction { code: 0x20, jt: 0, jf: 0, k }, answer];
            assert_eq!(is_sound(&program), k % 4 == 0 && k < 64 && k != 8 && k != 12, "{k}");
            if is_sound(&program) {
                run(&program, &Data::new(1, 2), false);
            }
        }
    }
}
