//! The digest that a program must have.

use std::error::Error;
use std::fmt;
use std::io::{self, Read};

use digest::DynDigest;

/// The digest that a plugin's file must have before it is started. go-plugin: `SecureConfig`.
///
/// Any digest of the `digest` family serves: `Checksum::new::<sha2::Sha256>(bytes)`. What is executed is what was
/// read for the digest; see [`Launch::checksum`](super::Launch::checksum).
///
/// A clone serves for the next start; go-plugin's is good for one.
#[derive(Clone)]
pub struct Checksum {
    expected: Vec<u8>,
    make: fn() -> Box<dyn DynDigest + Send>,
}

impl Checksum {
    /// The expected digest, as bytes.
    #[must_use]
    pub fn new<D: DynDigest + Default + Send + 'static>(expected: impl Into<Vec<u8>>) -> Self {
        Self { expected: expected.into(), make: || Box::new(D::default()) }
    }

    /// Reads to the end.
    pub(super) fn verify(&self, contents: &mut impl Read) -> Result<(), ChecksumError> {
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

/// Why a file was not trusted.
#[derive(Debug)]
#[non_exhaustive]
pub enum ChecksumError {
    /// The digest given has not the length of its algorithm. A mistake of the host; go-plugin: `no checksum provided`.
    Length {
        /// The algorithm's, in bytes.
        expected: usize,
        /// What was given.
        given: usize,
    },
    /// The file is another one. go-plugin: `ErrChecksumsDoNotMatch`.
    Mismatch {
        /// The digest given, in hexadecimal.
        expected: String,
        /// The file's.
        actual: String,
    },
    /// The file cannot be read.
    Read(io::Error),
}

impl fmt::Display for ChecksumError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChecksumError::Length { expected, given } => {
                write!(f, "the checksum given has {given} bytes, its algorithm makes {expected}")
            }
            ChecksumError::Mismatch { expected, actual } => {
                write!(f, "the file's checksum is {actual}, expected was {expected}")
            }
            ChecksumError::Read(_) => write!(f, "the file cannot be read"),
        }
    }
}

impl Error for ChecksumError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ChecksumError::Read(error) => Some(error),
            _ => None,
        }
    }
}
