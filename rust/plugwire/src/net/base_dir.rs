//! The directory in which private directories for sockets are made.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use plugwire_protocol::evidence::printable;
use rustix::process::{getegid, geteuid};

const STICKY: u32 = 0o1000;
const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;

/// Checks that no other user can replace a directory that is made in `base`: neither in it nor in a directory above it.
/// Another user could otherwise rename the private directory and put one of its own in its place, to which the peer would
/// then connect. Blocks.
///
/// # Errors
///
/// A directory on the way belongs to a user other than this one and root, or others may write to it without its sticky bit
/// (mode 1777, as of `/tmp`). `base` does not exist.
pub(crate) fn check(base: &Path) -> io::Result<()> {
    let why = |error: io::Error| {
        let base = printable(base.as_os_str().as_encoded_bytes());
        io::Error::new(error.kind(), format!("{base}: {error}"))
    };
    let real = base.canonicalize().map_err(why)?;
    for directory in real.ancestors() {
        if let Some(danger) = danger(&directory.metadata().map_err(why)?) {
            let directory = printable(directory.as_os_str().as_encoded_bytes()).into_owned();
            let text = format!(
                "{directory} {danger}, so another user could replace what is in it; use a directory that only this \
                 user can write to, or one with the sticky bit (`chmod +t`)"
            );
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
    }
    Ok(())
}

/// Returns what lets another user replace the entries of a directory.
fn danger(directory: &Metadata) -> Option<String> {
    let (owner, mode) = (directory.uid(), directory.mode());
    let us = geteuid().as_raw();
    if owner != 0 && owner != us && !is_unmapped(owner) {
        return Some(format!("belongs to user {owner}"));
    }
    // A user's private group has the user's number, and no other members.
    let group_is_private =
        directory.gid() == getegid().as_raw() && directory.gid() == us || directory.gid() == 0;
    let by_group = mode & GROUP_WRITES != 0 && !group_is_private;
    let by_others = mode & OTHERS_WRITE != 0;
    let writable = (by_group || by_others) && mode & STICKY == 0;
    writable.then(|| format!("has mode {:04o}, without the sticky bit", mode & 0o7777))
}

/// Returns whether this number stands for all users that have none in this user namespace, root perhaps among them.
fn is_unmapped(owner: u32) -> bool {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let overflow = read("/proc/sys/kernel/overflowuid");
    let whole = read("/proc/self/uid_map").split_whitespace().eq(["0", "0", "4294967295"]);
    overflow.trim().parse() == Ok(owner) && !whole
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, chown};

    use super::*;

    fn refusal(base: &Path) -> Option<String> {
        check(base).err().map(|error| error.to_string())
    }

    #[test]
    fn a_directory_that_others_may_write_to_needs_the_sticky_bit() {
        let base = tempfile::tempdir().expect("a directory");
        let inside = base.path().join("inside");
        std::fs::create_dir(&inside).expect("a directory");
        std::fs::set_permissions(&inside, Permissions::from_mode(0o700)).expect("it is ours");
        let with_mode = |mode| {
            std::fs::set_permissions(base.path(), Permissions::from_mode(mode))
                .expect("it is ours");
            (refusal(base.path()), refusal(&inside))
        };
        for safe in [0o700, 0o755, 0o1777, 0o1770] {
            assert_eq!(with_mode(safe), (None, None), "{safe:o}");
        }
        let (base, inside) = with_mode(0o777);
        let base = base.expect("others could replace it");
        assert!(base.contains("has mode 0777, without the sticky bit"), "{base}");
        assert_eq!(Some(base), inside, "the directory above counts, too");
    }

    #[test]
    fn a_directory_of_another_user_is_refused() {
        let base = tempfile::tempdir().expect("a directory");
        if chown(base.path(), Some(4711), None).is_err() {
            return eprintln!("skipped: only root can give a directory away");
        }
        let refused = refusal(base.path()).expect("its owner could replace what is in it");
        assert!(refused.contains("belongs to user 4711"), "{refused}");
        chown(base.path(), Some(0), Some(4711)).expect("root");
        std::fs::set_permissions(base.path(), Permissions::from_mode(0o775)).expect("root");
        let refused = refusal(base.path()).expect("the group could replace what is in it");
        assert!(refused.contains("has mode 0775"), "{refused}");
    }

    #[test]
    fn a_directory_that_does_not_exist_is_named() {
        assert!(
            refusal(Path::new("/nowhere\n")).expect("it is missing").starts_with("/nowhere\\n: ")
        );
    }
}
