//! The handshake line (spec, chapter 3).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;

/// A handshake line, as far as it has been understood. Checking it against an offer is the reader's business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The line's text, without its end.
    pub raw: String,
    /// All fields, as they stood there.
    pub fields: Vec<String>,
}

/// What is wrong with a line that is one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LineError(pub String);

impl Line {
    /// Takes a line apart: white space around it does not count (HS-3), fewer than four fields are none (HS-4).
    pub fn parse(bytes: &[u8]) -> Result<Self, LineError> {
        let text = std::str::from_utf8(bytes)
            .map_err(|_| LineError("the line is not UTF-8".to_owned()))?;
        let raw = text.trim().to_owned();
        let fields: Vec<String> = raw.split('|').map(str::to_owned).collect();
        if fields.len() < 4 {
            let count = fields.len();
            return Err(LineError(format!("{count} fields are no handshake line: {raw:?}")));
        }
        Ok(Self { raw, fields })
    }

    /// Field 1, a decimal number.
    pub fn core(&self) -> Option<i64> {
        number(&self.fields[0])
    }

    /// Field 2, a decimal number.
    pub fn version(&self) -> Option<i64> {
        number(&self.fields[1])
    }

    /// Field 3.
    pub fn network(&self) -> &str {
        &self.fields[2]
    }

    /// Field 4.
    pub fn address(&self) -> &str {
        &self.fields[3]
    }

    /// Field 5; four fields mean net/rpc.
    pub fn protocol(&self) -> &str {
        self.fields.get(4).map_or("netrpc", String::as_str)
    }

    /// Returns field 6 unchanged.
    pub fn certificate_field(&self) -> &str {
        self.fields.get(5).map_or("", String::as_str)
    }

    /// Returns the certificate's DER: none where the field is short (HS-17), an error where it is not unpadded base64 (TLS-10).
    pub fn certificate(&self) -> Result<Option<Vec<u8>>, LineError> {
        let field = self.certificate_field();
        if field.len() <= 50 {
            return Ok(None);
        }
        decode_certificate(field).map(Some)
    }

    /// Returns field 7 unchanged.
    pub fn multiplex(&self) -> Option<&str> {
        self.fields.get(6).map(String::as_str)
    }
}

/// Returns the DER in a certificate field: standard base64 without padding.
pub fn decode_certificate(field: &str) -> Result<Vec<u8>, LineError> {
    BASE64_STANDARD_NO_PAD
        .decode(field)
        .map_err(|error| LineError(format!("the certificate is not unpadded base64: {error}")))
}

/// Go's `strconv.Atoi`: a sign and leading zeros are fine.
fn number(text: &str) -> Option<i64> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_trimmed_and_split() {
        let line = Line::parse(b" 1|+02|unix|/tmp/p|grpc||true \r\n").unwrap();
        assert_eq!((line.core(), line.version()), (Some(1), Some(2)));
        assert_eq!((line.network(), line.address(), line.protocol()), ("unix", "/tmp/p", "grpc"));
        assert_eq!((line.certificate(), line.multiplex()), (Ok(None), Some("true")));
    }

    #[test]
    fn four_fields_are_net_rpc_and_three_are_nothing() {
        assert_eq!(Line::parse(b"1|1|unix|/x").unwrap().protocol(), "netrpc");
        assert!(Line::parse(b"1|1|unix").is_err());
        assert!(Line::parse(b"").is_err());
        assert!(Line::parse(b"\xff|1|1|1|1").is_err());
    }

    #[test]
    fn a_certificate_has_no_padding() {
        let good = BASE64_STANDARD_NO_PAD.encode([7; 100]);
        let line = |field: &str| Line::parse(format!("1|1|unix|/x|grpc|{field}").as_bytes());
        assert_eq!(line(&good).unwrap().certificate(), Ok(Some(vec![7; 100])));
        assert!(line(&format!("{good}==")).unwrap().certificate().is_err());
        assert_eq!(line("short").unwrap().certificate(), Ok(None));
    }
}
