//! Encodes and decodes the certificates for mutual TLS, in the handshake line and in
//! `PLUGIN_CLIENT_CERT`.
//!
//! A certificate is DER here, and is not parsed. Both sides pin the exact bytes, so the functions
//! only check that the bytes are complete and could be a certificate.

use base64::alphabet;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{NO_PAD, PAD, STANDARD, STANDARD_NO_PAD};
use base64::{DecodeError, Engine};
use thiserror::Error;

use crate::evidence::excerpt;

/// Go's way to read base64: the unused bits of the last character are ignored.
const LENIENT_NO_PAD: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, NO_PAD.with_decode_allow_trailing_bits(true));
const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, PAD.with_decode_allow_trailing_bits(true));

const PEM_BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const PEM_END: &str = "-----END CERTIFICATE-----";

/// The number of characters in a line of PEM.
const PEM_WIDTH: usize = 64;

/// The tag of a DER SEQUENCE, the first byte of every certificate.
const DER_SEQUENCE: u8 = 0x30;

/// Encodes the certificate field of a handshake line: DER in base64 without padding.
pub fn encode_field(der: &[u8]) -> String {
    STANDARD_NO_PAD.encode(der)
}

/// Decodes the certificate field of a handshake line into DER.
///
/// As strict as go-plugin's host: only the standard alphabet is valid, and padding is an error.
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

/// Encodes the certificate as one PEM block with a final newline, the form of
/// `PLUGIN_CLIENT_CERT`.
pub fn pem(der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let lines = base64.len().div_ceil(PEM_WIDTH);
    let mut text =
        String::with_capacity(base64.len() + lines + PEM_BEGIN.len() + PEM_END.len() + 2);
    text.push_str(PEM_BEGIN);
    text.push('\n');
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII, so every index is a character boundary.
        let (line, tail) = rest.split_at(rest.len().min(PEM_WIDTH));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str(PEM_END);
    text.push('\n');
    text
}

/// Decodes the first `CERTIFICATE` block of a PEM text into DER.
///
/// Text around the block, other blocks, any line ends, and white space inside the block are ignored.
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

/// Returns the offset of the first character that is not valid base64.
fn offset(cause: &DecodeError, text: &str) -> usize {
    match cause {
        DecodeError::InvalidByte(offset, _) | DecodeError::InvalidLastSymbol(offset, _) => *offset,
        DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => text.len(),
    }
}

/// Returns whether the bytes are exactly one DER SEQUENCE. This check is cheap, and enough to reject
/// a truncated certificate and other data that happens to be base64.
fn is_der_sequence(bytes: &[u8]) -> bool {
    let [DER_SEQUENCE, first, rest @ ..] = bytes else {
        return false;
    };
    // A length up to 127 is encoded directly; otherwise the low bits count the bytes of the length.
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

/// Why a certificate field of a handshake line is rejected. The plugin is at fault.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum CertificateFieldError {
    /// The field is base64, but the decoded bytes are not one complete DER structure.
    #[error("the field holds {length} bytes that are not one certificate in DER")]
    NotACertificate {
        /// The number of decoded bytes.
        length: usize,
    },
    /// The field is not base64 in the standard alphabet.
    #[error("the field stops being base64 at character {offset}")]
    NotBase64 {
        /// The offset of the first invalid character; the length of a field that was cut off.
        offset: usize,
    },
    /// The field is base64 with padding (`=`). go-plugin's host rejects that too: the plugin must
    /// use the encoding without padding.
    #[error("the field is base64 with padding, but only base64 without padding is valid")]
    Padded,
}

impl CertificateFieldError {
    /// Returns the stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotACertificate { .. } => "certificate.not-a-certificate",
            Self::NotBase64 { .. } => "certificate.not-base64",
            Self::Padded => "certificate.padded",
        }
    }
}

/// Why no certificate can be read from a PEM text. The host, which set the variable, is at fault.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum PemError {
    /// The text has no `BEGIN CERTIFICATE` line.
    #[error("no certificate block in \"{text}\"")]
    NoCertificateBlock {
        /// The text.
        text: String,
    },
    /// The block is base64, but the decoded bytes are not one complete DER structure.
    #[error("the block holds {length} bytes that are not one certificate in DER")]
    NotACertificate {
        /// The number of decoded bytes.
        length: usize,
    },
    /// The block is not base64.
    #[error("the certificate block stops being base64 at character {offset}")]
    NotBase64 {
        /// The offset of the first invalid character; the length of a block that was cut off.
        offset: usize,
    },
    /// The block has no `END CERTIFICATE` line, so the text was cut off.
    #[error("the certificate block has no end")]
    Unterminated,
}

impl PemError {
    /// Returns the stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoCertificateBlock { .. } => "pem.no-certificate-block",
            Self::NotACertificate { .. } => "pem.not-a-certificate",
            Self::NotBase64 { .. } => "pem.not-base64",
            Self::Unterminated => "pem.unterminated",
        }
    }
}

#[cfg(test)]
mod tests;
