//! TLS of either side, right or wrong in a stated way (spec, chapter 6).

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::identity::Identity;
use crate::socket::Io;

/// Which certificates of the peer are accepted. Its handshake signature is verified as well unless
/// stated otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// Exactly this one.
    Exactly(Vec<u8>),
    /// Any at all.
    Any,
    /// None is asked for. (As plugin only; a connecting side always gets one.)
    Nobody,
    /// This one, or none. (As plugin only.)
    OrNobody(Vec<u8>),
    /// This one, whether or not the peer has its key.
    Unproved(Vec<u8>),
}

/// Which versions are offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Versions {
    /// 1.2 and 1.3.
    #[default]
    Both,
    /// 1.2 alone.
    Only12,
    /// 1.3 alone.
    Only13,
}

impl Versions {
    fn list(self) -> &'static [&'static SupportedProtocolVersion] {
        static BOTH: [&SupportedProtocolVersion; 2] =
            [&rustls::version::TLS13, &rustls::version::TLS12];
        match self {
            Self::Both => &BOTH,
            Self::Only12 => &BOTH[1..],
            Self::Only13 => &BOTH[..1],
        }
    }
}

/// One side's way of doing TLS.
#[derive(Debug, Clone)]
pub struct Tls {
    /// What it shows, if anything. The accepting side needs one.
    pub present: Option<Identity>,
    /// What it takes.
    pub expect: Expect,
    /// The name that a connecting side asks for; none sends none.
    pub server_name: Option<String>,
    /// The versions.
    pub versions: Versions,
    /// Whether `h2` is negotiated.
    pub alpn: bool,
}

impl Tls {
    /// Returns the right way: shows this, takes exactly that.
    pub fn mutual(present: Identity, expect: &[u8]) -> Self {
        Self {
            present: Some(present),
            expect: Expect::Exactly(expect.to_vec()),
            server_name: Some("localhost".to_owned()),
            versions: Versions::Both,
            alpn: true,
        }
    }
}

/// What a finished handshake came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// `TLSv1_3` or `TLSv1_2`.
    pub version: String,
    /// The protocol that was agreed on.
    pub alpn: Option<String>,
    /// What the peer showed.
    pub peer: Option<Vec<u8>>,
    /// The name that a connecting peer asked for.
    pub server_name: Option<String>,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let alpn = self.alpn.as_deref().unwrap_or("none");
        let peer = self.peer.as_ref().map_or("no certificate".to_owned(), |der| {
            format!("a certificate of {} bytes", der.len())
        });
        write!(f, "{}, ALPN {alpn}, peer shows {peer}", self.version)
    }
}

/// Performs the handshake as the connecting side.
pub async fn connect(io: Io, tls: &Tls) -> Result<(Io, Seen), String> {
    let verifier = Arc::new(Verifier::new(tls.expect.clone()));
    let builder = ClientConfig::builder_with_provider(verifier.provider.clone())
        .with_protocol_versions(tls.versions.list())
        .map_err(text)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match &tls.present {
        // Not `with_client_auth_cert`: it compares key and certificate, and those of a stolen
        // certificate do not match.
        Some(identity) => builder.with_client_cert_resolver(Arc::new(Always(signing(identity)?))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn(tls.alpn);
    config.enable_sni = tls.server_name.is_some();
    let name = tls.server_name.as_deref().unwrap_or("localhost").to_owned();
    let name = ServerName::try_from(name).map_err(text)?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, io).await.map_err(text)?;
    let (_, session) = stream.get_ref();
    let seen = Seen {
        version: format!("{:?}", session.protocol_version().ok_or("no version")?),
        alpn: session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
        peer: session.peer_certificates().and_then(|all| all.first()).map(|der| der.to_vec()),
        server_name: None,
    };
    Ok((Box::new(stream), seen))
}

/// Performs the handshake as the accepting side.
pub async fn accept(io: Io, tls: &Tls) -> Result<(Io, Seen), String> {
    let identity = tls.present.as_ref().ok_or("the accepting side needs a certificate")?;
    let verifier = Arc::new(Verifier::new(tls.expect.clone()));
    let builder = ServerConfig::builder_with_provider(verifier.provider.clone())
        .with_protocol_versions(tls.versions.list())
        .map_err(text)?;
    let builder = match tls.expect {
        Expect::Nobody => builder.with_no_client_auth(),
        _ => builder.with_client_cert_verifier(verifier),
    };
    let mut config = builder.with_cert_resolver(Arc::new(Always(signing(identity)?)));
    config.alpn_protocols = alpn(tls.alpn);
    let stream = TlsAcceptor::from(Arc::new(config)).accept(io).await.map_err(text)?;
    let (_, session) = stream.get_ref();
    let seen = Seen {
        version: format!("{:?}", session.protocol_version().ok_or("no version")?),
        alpn: session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
        peer: session.peer_certificates().and_then(|all| all.first()).map(|der| der.to_vec()),
        server_name: session.server_name().map(str::to_owned),
    };
    Ok((Box::new(stream), seen))
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

fn alpn(wanted: bool) -> Vec<Vec<u8>> {
    match wanted {
        true => vec![b"h2".to_vec()],
        false => Vec::new(),
    }
}

/// Returns a certificate with a key that may be another's.
fn signing(identity: &Identity) -> Result<Arc<rustls::sign::CertifiedKey>, String> {
    let key = aws_lc_rs::sign::any_supported_type(&identity.key()).map_err(text)?;
    Ok(Arc::new(rustls::sign::CertifiedKey::new(identity.chain(), key)))
}

/// Presents the same certificate to every peer.
#[derive(Debug)]
struct Always(Arc<rustls::sign::CertifiedKey>);

impl rustls::client::ResolvesClientCert for Always {
    fn resolve(
        &self,
        _issuers: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl rustls::server::ResolvesServerCert for Always {
    fn resolve(
        &self,
        _hello: rustls::server::ClientHello<'_>,
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// Compares the certificate and verifies the signature; asks nothing else (TLS-3, TLS-4).
#[derive(Debug)]
struct Verifier {
    expect: Expect,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn new(expect: Expect) -> Self {
        Self { expect, provider: Arc::new(aws_lc_rs::default_provider()) }
    }

    fn compare(&self, certificate: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        match &self.expect {
            Expect::Exactly(der) | Expect::OrNobody(der) | Expect::Unproved(der)
                if **der != **certificate =>
            {
                Err(rustls::CertificateError::ApplicationVerificationFailure.into())
            }
            _ => Ok(()),
        }
    }

    fn signature12(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if matches!(self.expect, Expect::Unproved(_)) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn signature13(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if matches!(self.expect, Expect::Unproved(_)) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.compare(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signature12(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signature13(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        !matches!(self.expect, Expect::OrNobody(_))
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.compare(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signature12(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signature13(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn shake(host: Tls, plugin: Tls) -> (Result<Seen, String>, Result<Seen, String>) {
        let (one, other) = tokio::io::duplex(64 * 1024);
        let (host, plugin) =
            tokio::join!(connect(Box::new(one), &host), accept(Box::new(other), &plugin));
        (host.map(|(_, seen)| seen), plugin.map(|(_, seen)| seen))
    }

    #[tokio::test]
    async fn the_right_certificates_shake_hands_on_both_curves() {
        for plugin in [Identity::new(), Identity::p521()] {
            let host = Identity::new();
            let (one, other) = shake(
                Tls::mutual(host.clone(), plugin.der()),
                Tls::mutual(plugin.clone(), host.der()),
            )
            .await;
            assert_eq!(one.unwrap().peer.unwrap(), plugin.der());
            let other = other.unwrap();
            assert_eq!(other.peer.unwrap(), host.der());
            assert_eq!(other.server_name.as_deref(), Some("localhost"));
            assert_eq!(other.alpn.as_deref(), Some("h2"));
        }
    }

    #[tokio::test]
    async fn a_stolen_certificate_is_refused() {
        let (host, plugin, thief) = (Identity::new(), Identity::new(), Identity::new());
        let stolen = host.with_key_of(&thief);
        for versions in [Versions::Only12, Versions::Only13] {
            let tls = Tls { versions, ..Tls::mutual(stolen.clone(), plugin.der()) };
            let (_, refused) = shake(tls, Tls::mutual(plugin.clone(), host.der())).await;
            assert!(refused.is_err(), "{refused:?}");
        }
    }

    #[tokio::test]
    async fn a_careless_side_takes_what_it_says() {
        let (host, plugin, thief) = (Identity::new(), Identity::new(), Identity::new());
        let pinned = host.der().to_vec();
        let ways = [
            (None, Expect::OrNobody(pinned.clone()), true),
            (Some(host.clone()), Expect::OrNobody(pinned.clone()), true),
            (Some(thief.clone()), Expect::OrNobody(pinned.clone()), false),
            (Some(host.with_key_of(&thief)), Expect::Unproved(pinned.clone()), true),
            (Some(thief.clone()), Expect::Unproved(pinned.clone()), false),
        ];
        for (present, expect, taken) in ways {
            let careless = Tls { expect, ..Tls::mutual(plugin.clone(), host.der()) };
            let tls = Tls { present, ..Tls::mutual(host.clone(), plugin.der()) };
            let (_, seen) = shake(tls, careless.clone()).await;
            assert_eq!(seen.is_ok(), taken, "{:?}: {seen:?}", careless.expect);
        }
    }

    #[tokio::test]
    async fn another_certificate_and_none_are_refused() {
        let (host, plugin) = (Identity::new(), Identity::new());
        for present in [None, Some(Identity::new())] {
            let tls = Tls { present, ..Tls::mutual(host.clone(), plugin.der()) };
            let (_, refused) = shake(tls, Tls::mutual(plugin.clone(), host.der())).await;
            assert!(refused.is_err(), "{refused:?}");
        }
    }
}
