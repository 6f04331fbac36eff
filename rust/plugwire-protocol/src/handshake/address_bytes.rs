//! An address as it is announced: bytes, because the path of a socket need not be text.

use std::borrow::Cow;
use std::fmt;

use super::AddressError;
use crate::evidence::excerpt;

/// The path of a socket, or `host:port`, as bytes. A path can hold any bytes but zero; those of a plugin in Go
/// are announced as they are.
///
/// Displays as an [excerpt], which is for people. To connect, use [`AddressBytes::as_bytes`], or on Unix the value
/// itself, as `AsRef<Path>`.
#[derive(Clone, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AddressBytes(Vec<u8>);

impl AddressBytes {
    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the address as text, or `None` if it is not UTF-8.
    pub fn to_str(&self) -> Option<&str> {
        str::from_utf8(&self.0).ok()
    }

    /// Returns the address as text. What is not UTF-8 is replaced by U+FFFD, so that nothing can be reached there.
    pub fn to_string_lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// Checks that a handshake line can carry the address.
    ///
    /// # Errors
    ///
    /// [`AddressError::Unannounceable`] if it contains `|` or a line feed: the line has no escaping.
    pub fn check_announceable(&self) -> Result<(), AddressError> {
        match self.0.iter().any(|byte| matches!(byte, b'|' | b'\n')) {
            true => Err(AddressError::Unannounceable { address: excerpt(&self.0) }),
            false => Ok(()),
        }
    }
}

impl fmt::Debug for AddressBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl fmt::Display for AddressBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&excerpt(&self.0))
    }
}

impl From<Vec<u8>> for AddressBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<&[u8]> for AddressBytes {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_owned())
    }
}

impl From<String> for AddressBytes {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
    }
}

impl From<&str> for AddressBytes {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl PartialEq<str> for AddressBytes {
    fn eq(&self, text: &str) -> bool {
        self.0 == text.as_bytes()
    }
}

impl PartialEq<&str> for AddressBytes {
    fn eq(&self, text: &&str) -> bool {
        self == *text
    }
}

impl AsRef<[u8]> for AddressBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(unix)]
mod unix {
    use std::ffi::{OsStr, OsString};
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::path::{Path, PathBuf};

    use super::AddressBytes;

    impl AsRef<Path> for AddressBytes {
        fn as_ref(&self) -> &Path {
            OsStr::from_bytes(&self.0).as_ref()
        }
    }

    impl AsRef<OsStr> for AddressBytes {
        fn as_ref(&self) -> &OsStr {
            OsStr::from_bytes(&self.0)
        }
    }

    impl From<&Path> for AddressBytes {
        fn from(path: &Path) -> Self {
            Self(path.as_os_str().as_bytes().to_owned())
        }
    }

    impl From<PathBuf> for AddressBytes {
        fn from(path: PathBuf) -> Self {
            Self(path.into_os_string().into_vec())
        }
    }

    impl From<AddressBytes> for PathBuf {
        fn from(address: AddressBytes) -> Self {
            OsString::from_vec(address.0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_keeps_its_bytes_and_is_shown_as_text() {
        let address = AddressBytes::from(&b"/tmp/\xff\xfe\x1b/plugin1"[..]);
        assert_eq!(address.to_string(), "/tmp/\\xff\\xfe\\u{1b}/plugin1");
        assert_eq!(format!("{address:?}"), "\"/tmp/\\xff\\xfe\\u{1b}/plugin1\"");
        assert_eq!(address.to_str(), None);
        assert_eq!(address.to_string_lossy(), "/tmp/\u{fffd}\u{fffd}\x1b/plugin1");
        assert_eq!(address.as_bytes(), b"/tmp/\xff\xfe\x1b/plugin1");
    }

    #[test]
    fn what_separates_fields_or_lines_cannot_be_announced() {
        for path in ["/a|b", "/a\nb", "|"] {
            let refused = Err(AddressError::Unannounceable { address: excerpt(path) });
            assert_eq!(AddressBytes::from(path).check_announceable(), refused, "{path:?}");
        }
        assert_eq!(AddressBytes::from(&b"/a b\xff\t\rc"[..]).check_announceable(), Ok(()));
    }
}
