//! The digest that a program must have.

use std::fmt;
use std::io::{self, Read};

use digest::DynDigest;
use thiserror::Error;

/// The digest that a program's file must have before it is started.
///
/// Works with any digest of the `digest` family: `Checksum::new::<sha2::Sha256>(bytes)`. The bytes that are executed
/// are the bytes that were read for the digest, see [`Verification`](crate::Verification).
///
/// A clone can be used for the next start. go-plugin: `SecureConfig`, which is good for one.
#[derive(Clone)]
pub struct Checksum {
    expected: Vec<u8>,
    make: fn() -> Box<dyn DynDigest + Send>,
}

impl Checksum {
    /// Expects this digest, given as bytes.
    #[must_use]
    pub fn new<D: DynDigest + Default + Send + 'static>(expected: impl Into<Vec<u8>>) -> Self {
        Self { expected: expected.into(), make: || Box::new(D::default()) }
    }

    /// Reads to the end and compares.
    pub(crate) fn verify(&self, contents: &mut impl Read) -> Result<(), ChecksumError> {
        let mut digest = (self.make)();
        if self.expected.len() != digest.output_size() {
            return Err(ChecksumError::Length {
                expected: digest.output_size(),
                given: self.expected.len(),
            });
        }
        let mut buffer = vec![0; 128 * 1024];
        loop {
            match contents.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => digest.update(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ChecksumError::Read(error)),
            }
        }
        // Neither digest is a secret, so the comparison need not take constant time.
        let actual = digest.finalize();
        if *actual == *self.expected {
            Ok(())
        } else {
            Err(ChecksumError::Mismatch { expected: hex(&self.expected), actual: hex(&actual) })
        }
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Checksum").field(&hex(&self.expected)).finish()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Why a file did not pass its [`Checksum`].
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ChecksumError {
    /// The digest given does not have the length of its algorithm. This is a mistake in the calling program.
    /// go-plugin: `no checksum provided`.
    #[error("the checksum given has {given} bytes, its algorithm makes {expected}")]
    Length {
        /// The algorithm's length, in bytes.
        expected: usize,
        /// The length given, in bytes.
        given: usize,
    },
    /// The file is a different one. go-plugin: `ErrChecksumsDoNotMatch`.
    #[error("the file's checksum is {actual}, expected was {expected}")]
    Mismatch {
        /// The digest given, in hexadecimal.
        expected: String,
        /// The file's digest, in hexadecimal.
        actual: String,
    },
    /// The file cannot be read.
    #[error("the file cannot be read")]
    Read(#[source] io::Error),
}
