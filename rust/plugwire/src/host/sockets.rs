//! The private folder for one plugin's sockets.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use super::sweep;
use crate::broker::Trust;
use crate::net::Address;
use crate::net::private_dir::PrivateFolder;

/// What `sockaddr_un` takes on every Unix; Linux takes a little more.
const LONGEST_PATH: usize = 104;
/// `/plugwire-abcdef` and `/plugin1234567890`.
const LONGEST_NAMES: usize = 16 + 17;

/// Makes the folder. What dead hosts left beside it goes first.
pub(super) fn private_folder(
    base: Option<&Path>,
    group: Option<&str>,
) -> io::Result<PrivateFolder> {
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
                false => format!("{} is no absolute path (`Launch::socket_dir`)", base.display()),
            };
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        None => Some(std::env::temp_dir())
            .filter(|path| is_short(path) && path.to_str().is_some())
            .unwrap_or_else(|| PathBuf::from("/tmp")),
    };
    if base.to_str().is_none() {
        let why = format!("the path of {} is not UTF-8, as the protocol needs it", base.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    sweep::once(&base);
    PrivateFolder::make(&base, group)
}

/// Where a plugin's brokered sockets may be: in its private folder and, if its main socket shows that it does not know of
/// that one (go-plugin before 1.5), in temporary folders. `temporary` is the one that the plugin was given.
pub(super) fn trust(main: &Address, private: &Path, temporary: Option<&OsStr>) -> Trust {
    let knows_private = main.directory().is_none_or(|folder| folder == private);
    let mut folders = vec![private.to_owned()];
    if !knows_private {
        folders.extend(temporary_folders(temporary));
    }
    Trust::Directories(folders)
}

/// The same for a plugin that a runner has started: in the private folder, or where its main socket was found to be.
pub(super) fn trust_runner(main: &Address, private: &Path) -> Trust {
    Trust::Directories(main.directory().into_iter().chain([private]).map(Path::to_owned).collect())
}

/// Where a plugin puts its sockets by itself.
pub(super) fn temporary_folders(given: Option<&OsStr>) -> impl Iterator<Item = PathBuf> {
    let shared = [std::env::temp_dir(), PathBuf::from("/tmp")];
    given.map(PathBuf::from).into_iter().chain(shared)
}

fn is_short(base: &Path) -> bool {
    base.is_absolute() && base.as_os_str().len() + LONGEST_NAMES <= LONGEST_PATH
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn is_private_and_goes_with_its_owner() {
        let folder = private_folder(None, None).expect("a folder");
        let path = folder.path().to_owned();
        let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        std::fs::write(path.join("plugin1"), "").expect("a file");
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn a_path_that_no_socket_fits_into_is_refused_by_name() {
        let long = PathBuf::from(format!("/{}", "x".repeat(LONGEST_PATH)));
        let error = private_folder(Some(&long), None).expect_err("too long");
        assert!(error.to_string().contains("too long for a socket"), "{error}");
    }
}
