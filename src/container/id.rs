//! Container ids: names of directories, and no more than that.

use crate::fault::Fault;

/// The longest id, in bytes.
const LONGEST: usize = 1024;

/// Checks an id.
///
/// # Errors
/// An empty id, one that is too long, or one with characters that runc does not take.
pub fn check(id: &str) -> Result<(), Fault> {
    const ALLOWED: &str = "letters, digits and _ + - .";
    let wrong = |what: String| Err(Fault::doing(what).remedy(format!("use 1 to {LONGEST} {ALLOWED}")));
    if id.is_empty() {
        return wrong("container id cannot be empty".to_string());
    }
    if id.len() > LONGEST {
        return wrong(format!("invalid container ID format: {} bytes are too long", id.len()));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
    if id == "." || id == ".." || !id.bytes().all(allowed) {
        return wrong(format!("invalid container ID format: {id:?}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_leave_the_state_root_is_no_id() {
        for id in ["", ".", "..", "a/b", "/a", "a b", "ä", "a\n"] {
            assert!(check(id).is_err(), "{id:?}");
        }
        for id in ["a", "a.b", "...", "A_+-.9"] {
            assert!(check(id).is_ok(), "{id:?}");
        }
        assert!(check(&"x".repeat(1024)).is_ok());
        assert!(check(&"x".repeat(1025)).is_err());
    }
}
