//! Users and groups by a container's own /etc/passwd and /etc/group; passwd(5), group(5).

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

/// A line of passwd.
#[derive(Debug, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub uid: u32,
    /// Its group's id.
    pub gid: u32,
    /// Its home directory.
    pub home: String,
}

/// The text of one of the files, as much of it as is reasonable: an image may make it endless.
///
/// # Errors
/// Those of read(2).
pub fn read(file: OwnedFd) -> io::Result<String> {
    const MOST: u64 = 16 << 20;
    let mut text = Vec::new();
    File::from(file).take(MOST).read_to_end(&mut text)?;
    text.retain(|byte| *byte != 0);
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The user with this id, or of this name. A number is always an id.
pub fn user(passwd: &str, who: &str) -> Option<User> {
    let id = who.parse::<u32>().ok();
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, ..] = fields[..] else { return None };
        let user = User { uid: uid.parse().ok()?, gid: gid.parse().ok()?, home: home.to_string() };
        match id {
            Some(id) => id == user.uid,
            None => name == who,
        }
        .then_some(user)
    })
}

/// The id of the group of this name. A number is always an id.
pub fn group(group: &str, who: &str) -> Option<u32> {
    if let Ok(id) = who.parse() {
        return Some(id);
    }
    group.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        match fields[..] {
            [name, _, gid, ..] if name == who => gid.parse().ok(),
            _ => None,
        }
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
    }

    #[test]
    fn names_are_looked_up() {
        assert_eq!(user(PASSWD, "anna").unwrap(), User { uid: 1000, gid: 100, home: "/home/anna".into() });
        assert_eq!(group("wheel:x:10:anna\n", "wheel"), Some(10));
        assert_eq!(group("wheel:x:10:anna\n", "nobody"), None);
    }
}
