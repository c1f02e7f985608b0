//! An image's /etc/passwd and /etc/group: the first line is who is looked for, the rest is the file.

use crate::accounts;

pub fn execute(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (who, file) = text.split_once('\n').unwrap_or((&text, ""));
    let is_number = who.parse::<u32>().is_ok() && !who.starts_with('+');
    assert_eq!(accounts::id(who).is_some(), is_number);
    if let Some(user) = accounts::user(file, who) {
        assert!(if is_number {
            user.uid.to_string().parse().ok() == accounts::id(who)
        } else {
            user.name == who
        });
        assert!(!user.name.starts_with(['#', '+', '-']) && !user.name.is_empty(), "{user:?}");
        assert!(!user.home.contains(':') && !user.home.contains('\n'), "{user:?}");
        let line = format!("{}:", user.name);
        assert!(file.lines().any(|found| found.starts_with(&line)), "{user:?}");
    }
    match accounts::group(file, who) {
        Some(group) if is_number => assert_eq!(accounts::id(who), Some(group)),
        Some(group) => assert!(
            file.lines().any(|line| line.starts_with(who) && line.contains(&group.to_string()))
                || file.contains('0')
        ),
        None => assert!(!is_number),
    }
}
