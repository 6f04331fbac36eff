//! Mutual TLS between two processes that trust exactly one certificate each.
//!
//! Neither side asks who signed the peer's certificate, whose name it bears or when it ends. Each side was handed
//! the other's certificate before the connection (in the environment, on the handshake line), so it
//! compares the bytes, and then *verifies the handshake's signature* with the key inside: a certificate alone is
//! public, and comparing without verifying would accept anybody who once saw it. Spec: TLS-3 and TLS-4.
//!
//! Keys and randomness come from ring and only the verification of signatures from aws-lc-rs: Go's certificates are
//! P-521, which ring cannot verify, and aws-lc's own randomness costs some 40 ms in every process.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureScheme,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::BoxIo;

/// The name that go-plugin puts into its certificates, and asks for.
const SERVER_NAME: &str = "localhost";

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A key made for one process's life, and the certificate that says it is ours.
pub(crate) struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl Identity {
    /// P-256 and self-signed. Marked as its own authority, because a Go peer puts it into its pool of roots.
    pub(crate) fn generate() -> Result<Self, rcgen::Error> {
        let mut params = rcgen::CertificateParams::new(vec![SERVER_NAME.to_owned()])?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, SERVER_NAME);
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "plugwire");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![
            rcgen::KeyUsagePurpose::DigitalSignature,
            rcgen::KeyUsagePurpose::KeyEncipherment,
            rcgen::KeyUsagePurpose::KeyAgreement,
            rcgen::KeyUsagePurpose::KeyCertSign,
        ];
        params.extended_key_usages = vec![
            rcgen::ExtendedKeyUsagePurpose::ClientAuth,
            rcgen::ExtendedKeyUsagePurpose::ServerAuth,
        ];
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.self_signed(&key)?.der().clone();
        Ok(Self { certificate, key: PrivatePkcs8KeyDer::from(key.serialize_der()) })
    }

    pub(crate) fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.clone_key())
    }
}

/// One side's TLS: the configuration it dials with, the one it accepts with, or both. The main connection needs one of
/// them, brokered connections go either way.
///
/// Made by plugwire where certificates are exchanged with the handshake (go-plugin: `AutoMTLS`). A program that
/// brings its own makes one from rustls's configurations (go-plugin: `ClientConfig.TLSConfig`,
/// `ServeConfig.TLSProvider`); ALPN is set to `h2` in both, since grpc-go refuses a peer without it.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    client: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    server: Option<Arc<ServerConfig>>,
}

impl Tls {
    /// Trusts the holder of the key behind `peer`, a certificate in DER, and nobody else.
    pub(crate) fn pinned(own: &Identity, peer: &[u8]) -> Result<Self, Error> {
        let provider = provider();
        let pin = Arc::new(Pin {
            certificate: CertificateDer::from(peer.to_vec()),
            provider: provider.clone(),
        });
        let chain = || vec![own.certificate.clone()];
        let mut client = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(pin.clone())
            .with_client_auth_cert(chain(), own.key())?;
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(pin)
            .with_single_cert(chain(), own.key())?;
        // One connection for each process: nothing to resume, and no tickets to make.
        client.resumption = rustls::client::Resumption::disabled();
        server.send_tls13_tickets = 0;
        let name = ServerName::try_from(SERVER_NAME).expect("localhost is a name");
        Ok(Self::default().dial_with(client, name).accept_with(server))
    }

    /// TLS of a program's own making, so far without either configuration.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How connections are dialled, and which name the other side's certificate has to bear. A host needs this; a
    /// plugin only where it dials brokered connections.
    #[must_use]
    pub fn dial_with(mut self, mut config: ClientConfig, name: ServerName<'static>) -> Self {
        config.alpn_protocols = vec![b"h2".to_vec()];
        self.client = Some((Arc::new(config), name));
        self
    }

    /// How connections are accepted. A plugin needs this; a host only where it accepts brokered connections.
    #[must_use]
    pub fn accept_with(mut self, mut config: ServerConfig) -> Self {
        config.alpn_protocols = vec![b"h2".to_vec()];
        self.server = Some(Arc::new(config));
        self
    }

    /// What stands in `:authority` of calls: the server's name, as grpc-go has it.
    pub(crate) fn authority(&self) -> Option<String> {
        self.client.as_ref().map(|(_, name)| name.to_str().into_owned())
    }

    pub(crate) async fn connect(&self, io: BoxIo) -> std::io::Result<BoxIo> {
        let Some((config, name)) = &self.client else {
            return Err(std::io::Error::other(
                "this TLS configuration cannot dial: see Tls::dial_with",
            ));
        };
        Ok(Box::new(TlsConnector::from(config.clone()).connect(name.clone(), io).await?))
    }

    pub(crate) async fn accept(&self, io: BoxIo) -> std::io::Result<BoxIo> {
        let Some(config) = &self.server else {
            return Err(std::io::Error::other(
                "this TLS configuration cannot accept: see Tls::accept_with",
            ));
        };
        Ok(Box::new(TlsAcceptor::from(config.clone()).accept(io).await?))
    }
}

/// Accepts one certificate, from the holder of its key.
#[derive(Debug)]
struct Pin {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl Pin {
    fn check(&self, presented: &CertificateDer<'_>) -> Result<(), Error> {
        if presented == &self.certificate {
            Ok(())
        } else {
            Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn tls12(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn tls13(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.tls12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.tls13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for Pin {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.tls12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.tls13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}
