//! Keys and certificates for one life of one process (spec, chapter 6).

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// A key with its self-signed certificate.
#[derive(Debug)]
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self { certificate: self.certificate.clone(), key: self.key.clone_key() }
    }
}

impl Default for Identity {
    fn default() -> Self {
        Self::new()
    }
}

impl Identity {
    /// Returns a fresh one on P-256, as `docs/spec.md` TLS-5 asks for.
    ///
    /// # Panics
    ///
    /// Never: the parameters are constant.
    pub fn new() -> Self {
        Self::made(|_| {})
    }

    /// Returns a fresh one that ended ten years ago.
    ///
    /// # Panics
    ///
    /// Never: the parameters are constant.
    pub fn expired() -> Self {
        Self::made(|parameters| {
            parameters.not_before = rcgen::date_time_ymd(2010, 1, 1);
            parameters.not_after = rcgen::date_time_ymd(2016, 1, 1);
        })
    }

    /// Base64 of it has padding, so that a peer which leaves that in differs from one which does not. Signatures vary in length.
    fn made(change: impl Fn(&mut CertificateParams)) -> Self {
        let mut any = std::iter::repeat_with(|| Self::of_any_length(&change));
        any.find(|made| made.der().len() % 3 != 0).expect("it goes on")
    }

    fn of_any_length(change: impl Fn(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().expect("P-256 is there");
        let mut parameters =
            CertificateParams::new(["localhost".to_owned()]).expect("localhost is a name");
        parameters.distinguished_name.push(DnType::CommonName, "localhost");
        parameters.distinguished_name.push(DnType::OrganizationName, "plugwire conformance");
        parameters.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyAgreement,
            KeyUsagePurpose::KeyCertSign,
        ];
        parameters.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut parameters);
        let certificate = parameters.self_signed(&key).expect("a key signs its own certificate");
        Self {
            certificate: certificate.der().clone(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        }
    }

    /// Returns one on P-521 that is marked as a CA, as in Go. Its key is part of this source, so it
    /// is not a secret.
    ///
    /// # Panics
    ///
    /// Never: a test reads it.
    pub fn p521() -> Self {
        let pem = include_bytes!("p521.pem");
        Self {
            certificate: CertificateDer::from_pem_slice(pem).expect("a certificate"),
            key: PrivateKeyDer::from_pem_slice(pem).expect("a key"),
        }
    }

    /// This one's certificate with the key of another: what a thief of certificates has.
    pub fn with_key_of(&self, other: &Self) -> Self {
        Self { certificate: self.certificate.clone(), key: other.key.clone_key() }
    }

    /// Returns the certificate's bytes.
    pub fn der(&self) -> &[u8] {
        &self.certificate
    }

    /// Returns the certificate for `PLUGIN_CLIENT_CERT`.
    pub fn pem(&self) -> String {
        let text = BASE64_STANDARD.encode(self.der());
        let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
        for line in text.as_bytes().chunks(64) {
            pem.push_str(std::str::from_utf8(line).unwrap_or_default());
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
        pem
    }

    /// Returns the certificate for the handshake line's sixth field.
    pub fn field(&self) -> String {
        BASE64_STANDARD_NO_PAD.encode(self.der())
    }

    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.clone()]
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key()
    }
}

/// Returns whether these bytes are exactly one certificate, trusted or not.
pub fn is_certificate(der: &[u8]) -> bool {
    rustls::server::ParsedCertificate::try_from(&CertificateDer::from(der)).is_ok()
}

/// Returns the DER of the one certificate in a PEM text.
pub fn der_of_pem(pem: &str) -> Result<Vec<u8>, String> {
    CertificateDer::from_pem_slice(pem.as_bytes())
        .map(|der| der.to_vec())
        .map_err(|error| format!("no certificate in PEM: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::decode_certificate;

    #[test]
    fn padding_shows() {
        for _ in 0..30 {
            assert_ne!(Identity::new().field().len() % 4, 0);
        }
    }

    #[test]
    fn pem_and_field_hold_the_certificate() {
        for identity in [Identity::new(), Identity::p521(), Identity::expired()] {
            assert_eq!(der_of_pem(&identity.pem()).unwrap(), identity.der());
            assert_eq!(decode_certificate(&identity.field()).unwrap(), identity.der());
            assert!(is_certificate(identity.der()));
            assert!(!is_certificate(&identity.der()[1..]));
            assert!(!is_certificate(&identity.der()[..identity.der().len() - 1]));
        }
    }
}
