//! getdents64(2): the names in a directory.

use super::answer;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Tells every name in the directory behind `directory`, and its DT_* type, from where the descriptor has been read to;
/// `.` and `..` are among them. Without the C library, whose readdir(3) wants a heap of its own first.
pub fn list(directory: BorrowedFd<'_>, mut tell: impl FnMut(&CStr, u8)) -> io::Result<()> {
    let mut buffer = Buffer([0; ROOM]);
    loop {
        // SAFETY: the buffer has the size given and outlives the call.
        let length = answer(unsafe {
            libc::syscall(libc::SYS_getdents64, directory.as_raw_fd(), buffer.0.as_mut_ptr(), ROOM)
        })?;
        let mut entries = &buffer.0[..usize::try_from(length).unwrap_or(0)];
        if entries.is_empty() {
            return Ok(());
        }
        // `struct linux_dirent64`: inode and offset of 8 bytes each, length of 2, type of 1, name.
        while let [_, .., _] = entries {
            let length = usize::from(u16::from_ne_bytes([entries[16], entries[17]]));
            let (entry, rest) = entries.split_at(length);
            let name = CStr::from_bytes_until_nul(&entry[19..]).map_err(io::Error::other)?;
            tell(name, entry[18]);
            entries = rest;
        }
    }
}

const ROOM: usize = 2048;

/// Aligned as the kernel's entries are.
#[repr(align(8))]
struct Buffer([u8; ROOM]);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs::{self, File};
    use std::os::fd::AsFd;

    #[test]
    fn every_name_of_a_directory_is_told() {
        let path = std::env::temp_dir().join(format!("kase-listing-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        let names: BTreeSet<String> =
            (1..300).map(|number| format!("{number}").repeat(number % 80 + 1)).collect();
        for name in &names {
            File::create(path.join(name)).unwrap();
        }
        let mut found = BTreeSet::new();
        list(File::open(&path).unwrap().as_fd(), |name, kind| {
            assert_eq!(kind == libc::DT_DIR, matches!(name.to_bytes(), b"." | b".."));
            found.insert(name.to_str().unwrap().to_string());
        })
        .unwrap();
        fs::remove_dir_all(&path).unwrap();
        assert!(found.remove(".") && found.remove(".."));
        assert_eq!(found, names);
    }
}
