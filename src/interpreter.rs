//! Who runs a program that the kernel does not run by itself: a script's interpreter, or a dynamic program's loader.

use crate::fault::Fault;
use crate::kernel::text::open_file;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What a program names as such.
#[derive(Debug)]
pub struct Interpreter {
    pub path: PathBuf,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Script,
    Loader,
}

/// The interpreter that the program at `path` names, if it names one.
pub fn named(path: &Path) -> Option<Interpreter> {
    let head = head(path)?;
    let (kind, name) = match head.strip_prefix(b"#!") {
        // For the kernel a carriage return is a part of the name.
        Some(line) => {
            let line = line.split(|byte| *byte == b'\n').next()?;
            let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
            (Kind::Script, line.split(blank).find(|word| !word.is_empty())?.to_vec())
        }
        None => (Kind::Loader, elf_interpreter(&head)?),
    };
    Some(Interpreter { path: PathBuf::from(OsStr::from_bytes(&name)), kind })
}

/// The interpreter that the program at `path` names, if it is not there.
pub fn missing(path: &Path) -> Option<Interpreter> {
    named(path).filter(|interpreter| !interpreter.path.exists())
}

impl Interpreter {
    /// That it is missing, so that the program at `path` cannot be executed.
    pub fn fault(&self, path: &Path) -> Fault {
        let (path, name) = (path.display(), self.path.display());
        let dos = self.path.as_os_str().as_bytes().ends_with(b"\r");
        let what = if self.kind == Kind::Loader { "loader" } else { "interpreter" };
        let ends = if dos { " (its lines end as on DOS)" } else { "" };
        let fault = Fault::doing(format!(
            "exec {path}: no such file or directory: its {what} {name} is missing{ends}"
        ));
        match self.kind {
            Kind::Script if dos => {
                fault.remedy(format!("take the carriage returns out: sed -i 's/\\r$//' {path}"))
            }
            // There is no remedy: it could only repeat the line, which is what engines show of a container's end.
            Kind::Script => fault,
            Kind::Loader => fault.remedy(format!(
                "add the C library's package, which has {name}, to the image, or link the program statically"
            )),
        }
    }
}

/// The beginning of a file.
pub fn head(path: &Path) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    open_file(path).ok()?.take(16 << 10).read_to_end(&mut head).ok()?;
    Some(head)
}

/// PT_INTERP of a 64-bit little-endian ELF file; elf(5).
fn elf_interpreter(head: &[u8]) -> Option<Vec<u8>> {
    let word = |at: usize| usize::try_from(u64::from_le_bytes(head.get(at..at + 8)?.try_into().ok()?)).ok();
    let half = |at: usize| Some(usize::from(u16::from_le_bytes(head.get(at..at + 2)?.try_into().ok()?)));
    if head.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let (table, size, count) = (word(32)?, half(54)?, half(56)?);
    (0..count).map(|index| table.checked_add(index * size)).find_map(|at| {
        let at = at?;
        if head.get(at..at + 4)? != 3u32.to_le_bytes() {
            return None;
        }
        let (offset, length) = (word(at + 8)?, word(at + 32)?);
        let name = head.get(offset..offset.checked_add(length)?)?;
        Some(name.strip_suffix(b"\0").unwrap_or(name).to_vec())
    })
}
