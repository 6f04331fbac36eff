//! The user group that may reach a socket.

use std::io;

use nix::unistd::Group;

/// Looks up a group by number or by name, in this order (go-plugin: `UnixSocketConfig.Group`).
///
/// A name is looked up as the system is configured to, which may ask a directory service over the
/// network. Call this on a thread that may block.
pub(crate) fn group_id(group: &str) -> io::Result<u32> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    match Group::from_name(group) {
        Ok(Some(found)) => Ok(found.gid.as_raw()),
        Ok(None) => {
            Err(io::Error::new(io::ErrorKind::NotFound, format!("no group is named `{group}`")))
        }
        Err(error) => Err(io::Error::from(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_comes_before_a_name() {
        assert_eq!(group_id("4711").expect("a number"), 4711);
        let root = Group::from_gid(0.into()).expect("groups").expect("a group");
        assert_eq!(group_id(&root.name).expect("a name"), 0);
        let error = group_id("no such group").expect_err("unknown");
        assert_eq!(error.to_string(), "no group is named `no such group`");
    }
}
