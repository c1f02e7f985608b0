//! Users and groups by a container's own /etc/passwd and /etc/group; passwd(5), group(5).

use crate::kernel::path::{Resolve, of_descriptor, open, openat2};
use nix::fcntl::OFlag;
use nix::sys::stat::{SFlag, fstat};
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// An entry of passwd.
#[derive(Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: u32,
    /// Its group's id.
    pub gid: u32,
    /// Its home directory.
    pub home: String,
}

/// The most that is read: an image may make a file endless.
const MOST: u64 = 16 << 20;

/// The text of one of the files, already open.
pub fn read(file: OwnedFd) -> io::Result<String> {
    size(file.as_fd())?;
    let mut text = Vec::new();
    File::from(file).take(MOST).read_to_end(&mut text)?;
    text.retain(|byte| *byte != 0);
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The text of one of the files of a running container, read from outside; nothing if it is not there.
///
/// No device cgroup of the container's is heeded here, and to open a device is enough to rewind a tape or to start a
/// watchdog: what is there is looked at before it is opened.
pub fn read_inside(root: BorrowedFd<'_>, path: &CStr) -> io::Result<String> {
    let found = match openat2(root, path, OFlag::O_PATH, Resolve::IN_ROOT) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        found => found?,
    };
    // Files of procfs and tracefs have a size of 0, and to read some of them changes something.
    if size(found.as_fd())? == 0 {
        return Ok(String::new());
    }
    read(open(&of_descriptor(&found), OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)?)
}

fn size(file: BorrowedFd<'_>) -> io::Result<u64> {
    let stat = fstat(file)?;
    if stat.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFREG.bits() {
        return Err(io::Error::other("it is not a regular file"));
    }
    u64::try_from(stat.st_size)
        .ok()
        .filter(|size| *size <= MOST)
        .ok_or_else(|| io::Error::other(format!("it is larger than {} MiB", MOST >> 20)))
}

/// A user's or group's id in digits alone: `+5` is a name.
pub fn id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|_| !text.starts_with('+'))
}

/// Whether it is meant to be an id, be it one or not: a name of digits alone is nobody's, or the image would say who
/// 4294967296 is.
fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The fields of each entry. Comments are none, nor are the rules of nss_compat (`+name`, `-name`).
fn entries(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = text.lines().filter(|line| !line.starts_with(['#', '+', '-', ':']));
    lines.map(|line| line.split(':').collect())
}

/// The user with this id, or of this name. A number is always an id.
pub fn user(passwd: &str, who: &str) -> Option<User> {
    let wanted = id(who);
    entries(passwd).find_map(|fields| {
        let [name, _, uid, gid, _, home, ..] = fields[..] else { return None };
        let user = User { name: name.to_string(), uid: id(uid)?, gid: id(gid)?, home: home.to_string() };
        match wanted {
            Some(wanted) => wanted == user.uid,
            None => name == who && !is_number(who),
        }
        .then_some(user)
    })
}

/// The id of the group of this name. A number is always an id.
pub fn group(group: &str, who: &str) -> Option<u32> {
    id(who).or_else(|| {
        entries(group).find_map(|fields| match fields[..] {
            [name, _, gid, ..] if name == who && !is_number(who) => id(gid),
            _ => None,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nbroken\n7:x:8:9::/seven:\nanna:x:1000:100::/home/anna:/bin/sh\n";

    #[test]
    fn a_number_is_always_an_id() {
        assert_eq!(user(PASSWD, "1000").unwrap().home, "/home/anna");
        assert_eq!(user(PASSWD, "7"), None, "that is the name of another");
        assert_eq!(group("wheel:x:10:anna\n", "99"), Some(99));
        assert_eq!(user("4294967296:x:0:0::/:\n:x:0:0::/:\n", "4294967296"), None);
        assert_eq!(group("4294967296:x:0:\n", "4294967296"), None);
    }

    #[test]
    fn names_are_looked_up() {
        assert_eq!(
            user(PASSWD, "anna").unwrap(),
            User { name: "anna".into(), uid: 1000, gid: 100, home: "/home/anna".into() }
        );
        assert_eq!(group("wheel:x:10:anna\n", "wheel"), Some(10));
        assert_eq!(group("wheel:x:10:anna\n", "nobody"), None);
    }

    #[test]
    fn a_comment_is_no_entry_and_a_sign_is_no_digit() {
        let passwd = "#anna:x:5:5::/:\n+anna:x:6:6::/:\nanna:x:+7:7::/:\nanna:x:1000:100::/:\n";
        assert_eq!(user(passwd, "anna").unwrap().uid, 1000);
        assert_eq!((user(passwd, "5"), user(passwd, "+1000")), (None, None));
        assert_eq!(group("#wheel:x:5:\nwheel:x:10:\n", "wheel"), Some(10));
        assert_eq!(group("", "+0"), None);
    }
}
