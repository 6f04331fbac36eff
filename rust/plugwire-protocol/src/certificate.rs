//! Certificates of mutual TLS as they travel: in the handshake line and in `PLUGIN_CLIENT_CERT`.
//!
//! A certificate is DER here. It is not parsed: both sides pin the exact bytes, so all that matters
//! is that bytes arrive whole and are not something else.

use std::error::Error;
use std::fmt;

use base64::alphabet;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{NO_PAD, PAD, STANDARD, STANDARD_NO_PAD};
use base64::{DecodeError, Engine};

use crate::evidence::excerpt;

/// As Go reads base64: the bits that the last character has to spare may be anything.
const LENIENT_NO_PAD: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, NO_PAD.with_decode_allow_trailing_bits(true));
const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, PAD.with_decode_allow_trailing_bits(true));

const PEM_BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const PEM_END: &str = "-----END CERTIFICATE-----";

/// Characters in a line of PEM.
const PEM_WIDTH: usize = 64;

/// The tag of a DER SEQUENCE, with which every certificate begins.
const DER_SEQUENCE: u8 = 0x30;

/// The certificate field of a handshake line: base64 of the DER without padding.
pub fn encode_field(der: &[u8]) -> String {
    STANDARD_NO_PAD.encode(der)
}

/// Reads the certificate field of a handshake line into DER.
///
/// As strict as go-plugin's host: standard alphabet, and padding is an error.
pub fn decode_field(field: &str) -> Result<Vec<u8>, CertificateFieldError> {
    if field.ends_with('=') {
        return Err(CertificateFieldError::Padded);
    }
    let der = LENIENT_NO_PAD
        .decode(field)
        .map_err(|cause| CertificateFieldError::NotBase64 { offset: offset(&cause, field) })?;
    if !is_der_sequence(&der) {
        return Err(CertificateFieldError::NotACertificate { length: der.len() });
    }
    Ok(der)
}

/// The certificate as one PEM block, each line with its end, as `PLUGIN_CLIENT_CERT` carries it.
pub fn pem(der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let lines = base64.len().div_ceil(PEM_WIDTH);
    let mut text =
        String::with_capacity(base64.len() + lines + PEM_BEGIN.len() + PEM_END.len() + 2);
    text.push_str(PEM_BEGIN);
    text.push('\n');
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII: every index is the border of a character.
        let (line, tail) = rest.split_at(rest.len().min(PEM_WIDTH));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str(PEM_END);
    text.push('\n');
    text
}

/// Reads the first `CERTIFICATE` block of a PEM text into DER.
///
/// Text around the block, other blocks, any line ends and spaces between the characters are fine.
pub fn from_pem(text: &str) -> Result<Vec<u8>, PemError> {
    let (_, body) = text
        .split_once(PEM_BEGIN)
        .ok_or_else(|| PemError::NoCertificateBlock { text: excerpt(text) })?;
    let (body, _) = body.split_once(PEM_END).ok_or(PemError::Unterminated)?;
    let base64: String = body.split_ascii_whitespace().collect();
    let der = LENIENT
        .decode(&base64)
        .map_err(|cause| PemError::NotBase64 { offset: offset(&cause, &base64) })?;
    if !is_der_sequence(&der) {
        return Err(PemError::NotACertificate { length: der.len() });
    }
    Ok(der)
}

/// Where a text stops being base64.
fn offset(cause: &DecodeError, text: &str) -> usize {
    match cause {
        DecodeError::InvalidByte(offset, _) | DecodeError::InvalidLastSymbol(offset, _) => *offset,
        DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => text.len(),
    }
}

/// Whether the bytes are one DER SEQUENCE and nothing after it: cheap, and enough to tell a
/// certificate from a truncated one and from anything else that happens to be base64.
fn is_der_sequence(bytes: &[u8]) -> bool {
    let [DER_SEQUENCE, first, rest @ ..] = bytes else {
        return false;
    };
    // Up to 127 the length stands there itself; else the low bits count the bytes that hold it.
    if *first < 0x80 {
        return rest.len() == usize::from(*first);
    }
    let count = usize::from(first & 0x7f);
    if !(1..=4).contains(&count) || rest.len() < count {
        return false;
    }
    let (length, content) = rest.split_at(count);
    let length = length.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    content.len() as u64 == length
}

/// Why a certificate field of a handshake line is refused. The plugin is at fault.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum CertificateFieldError {
    /// Base64, but of something that is not one whole DER structure.
    NotACertificate {
        /// How many bytes it has.
        length: usize,
    },
    /// Not base64 in the standard alphabet.
    NotBase64 {
        /// Where it stops being base64; at its end if it was cut off.
        offset: usize,
    },
    /// Base64 with `=` at its end. go-plugin's host refuses that too: the plugin must use the
    /// encoding without padding.
    Padded,
}

impl CertificateFieldError {
    /// The stable name of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotACertificate { .. } => "certificate.not-a-certificate",
            Self::NotBase64 { .. } => "certificate.not-base64",
            Self::Padded => "certificate.padded",
        }
    }
}

impl fmt::Display for CertificateFieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotACertificate { length } => {
                write!(f, "the field holds {length} bytes that are not one certificate in DER")
            }
            Self::NotBase64 { offset } => {
                write!(f, "the field stops being base64 at character {offset}")
            }
            Self::Padded => f.write_str("the field is padded base64, only unpadded is valid"),
        }
    }
}

impl Error for CertificateFieldError {}

/// Why there is no certificate in a PEM text. Whoever set the variable, the host, is at fault.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum PemError {
    /// There is no `BEGIN CERTIFICATE` line.
    NoCertificateBlock {
        /// The text.
        text: String,
    },
    /// The block holds something that is not one whole DER structure.
    NotACertificate {
        /// How many bytes it has.
        length: usize,
    },
    /// The block is not base64.
    NotBase64 {
        /// Where it stops being base64; at its end if it was cut off.
        offset: usize,
    },
    /// The block has no `END CERTIFICATE` line: it was cut off.
    Unterminated,
}

impl PemError {
    /// The stable name of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoCertificateBlock { .. } => "pem.no-certificate-block",
            Self::NotACertificate { .. } => "pem.not-a-certificate",
            Self::NotBase64 { .. } => "pem.not-base64",
            Self::Unterminated => "pem.unterminated",
        }
    }
}

impl fmt::Display for PemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCertificateBlock { text } => {
                write!(f, "no certificate block in \"{text}\"")
            }
            Self::NotACertificate { length } => {
                write!(f, "the block holds {length} bytes that are not one certificate in DER")
            }
            Self::NotBase64 { offset } => {
                write!(f, "the certificate block stops being base64 at character {offset}")
            }
            Self::Unterminated => f.write_str("the certificate block has no end"),
        }
    }
}

impl Error for PemError {}

#[cfg(test)]
mod tests;
