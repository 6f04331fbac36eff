//! Where one plugin's sockets are: its private directory, and the directories that are trusted besides it.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use plugwire_process::{PrivateDir, sweep};
use plugwire_protocol::handshake::AddressBytes;

use crate::broker::Trust;
use crate::net::{self, Address, group_id};

/// The length that `sockaddr_un` takes on every Unix; Linux takes a little more.
const LONGEST_PATH: usize = 104;
/// The lengths of `/plugwire-abcdef` and `/plugin1234567890`.
const LONGEST_NAMES: usize = 16 + 17;

/// Creates the private directory, and removes what dead hosts left beside it. Blocks.
pub(super) fn private_dir(base: Option<&Path>, group: Option<&str>) -> io::Result<PrivateDir> {
    let base = match base {
        Some(base) if is_short(base) => base.to_owned(),
        Some(base) => {
            let why = match base.is_absolute() {
                true => format!(
                    "the path of {} is too long for a socket: {} bytes, of at most {} (`Launch::socket_dir`)",
                    base.display(),
                    base.as_os_str().len(),
                    LONGEST_PATH - LONGEST_NAMES
                ),
                false => {
                    format!("{} is not an absolute path (`Launch::socket_dir`)", base.display())
                }
            };
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        None => Some(std::env::temp_dir())
            .filter(|path| is_short(path) && suits_every_message(path))
            .unwrap_or_else(|| PathBuf::from("/tmp")),
    };
    AddressBytes::from(base.as_path())
        .check_announceable()
        .map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
    net::check_base_dir(&base)?;
    sweep(&base);
    PrivateDir::new(&base, group.map(group_id).transpose()?)
}

/// Returns where a plugin's brokered sockets may be: in its private directory and, if its main socket shows that it does not
/// know the private one (go-plugin before 1.5), in temporary directories. `temporary` is the one that the plugin was given.
pub(super) fn trust(main: &Address, private: &Path, temporary: Option<&OsStr>) -> Trust {
    let knows_private = main.directory().is_none_or(|dir| dir == private);
    let mut dirs = vec![private.to_owned()];
    if !knows_private {
        dirs.extend(temporary_dirs(temporary));
    }
    Trust::Plugin { directories: dirs, user: None }
}

/// Does the same for a plugin that a runner started: in the private directory, or where its main socket is.
pub(super) fn trust_runner(main: &Address, private: &Path) -> Trust {
    let directories = main.directory().into_iter().chain([private]).map(Path::to_owned).collect();
    Trust::Plugin { directories, user: None }
}

/// Returns where a plugin puts its sockets without a private directory.
pub(super) fn temporary_dirs(given: Option<&OsStr>) -> impl Iterator<Item = PathBuf> {
    let shared = [std::env::temp_dir(), PathBuf::from("/tmp")];
    given.map(PathBuf::from).into_iter().chain(shared)
}

/// Returns whether every message can carry paths in this directory: those of the broker are text, and the handshake line
/// has no escaping. A directory that the user chose need not suit the broker.
fn suits_every_message(base: &Path) -> bool {
    base.to_str().is_some() && AddressBytes::from(base).check_announceable().is_ok()
}

fn is_short(base: &Path) -> bool {
    base.is_absolute() && base.as_os_str().len() + LONGEST_NAMES <= LONGEST_PATH
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn is_private_and_goes_with_its_owner() {
        let dir = private_dir(None, None).expect("a directory");
        let path = dir.path().to_owned();
        let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        std::fs::write(path.join("plugin1"), "").expect("a file");
        drop(dir);
        assert!(!path.exists());
    }

    #[test]
    fn a_base_that_others_may_change_is_refused() {
        let base = tempfile::tempdir().expect("a directory");
        for (mode, is_refused) in [(0o777, true), (0o1777, false), (0o700, false), (0o755, false)] {
            std::fs::set_permissions(base.path(), Permissions::from_mode(mode))
                .expect("it is ours");
            let created = private_dir(Some(base.path()), None);
            assert_eq!(created.is_err(), is_refused, "{mode:o}: {created:?}");
            if let Err(error) = created {
                assert!(error.to_string().contains("sticky bit"), "{error}");
            }
        }
    }

    #[test]
    fn a_path_that_no_socket_fits_into_is_refused_by_name() {
        let long = PathBuf::from(format!("/{}", "x".repeat(LONGEST_PATH)));
        let error = private_dir(Some(&long), None).expect_err("too long");
        assert!(error.to_string().contains("too long for a socket"), "{error}");
    }
}
