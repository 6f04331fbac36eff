//! Mutual TLS between two processes that trust exactly one certificate each.
//!
//! Neither side checks who signed the peer's certificate, which name it bears or when it expires. Each
//! side received the other's certificate before the connection (in the environment, on the handshake
//! line), so it compares the bytes and then *verifies the handshake's signature* with the key in the
//! certificate. A certificate alone is public: comparing without verifying would accept any peer that
//! has seen it once. Spec: TLS-3 and TLS-4.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureScheme,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::identity::{Identity, SERVER_NAME};
use super::io::BoxIo;
use super::provider::provider;

/// Holds one side's TLS configuration for dialling, for accepting, or for both. The main connection
/// needs one of them; brokered connections go either way.
///
/// plugwire makes it itself where certificates are exchanged with the handshake (go-plugin:
/// `AutoMTLS`). To bring your own, build one from rustls's configurations (go-plugin:
/// `ClientConfig.TLSConfig`, `ServeConfig.TLSProvider`). ALPN is set to `h2` in both, because grpc-go
/// refuses a peer without it.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    client: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    server: Option<Arc<ServerConfig>>,
}

impl Tls {
    /// Trusts only the holder of the private key of `peer`, a certificate in DER.
    pub(crate) fn pinned(own: &Identity, peer: &[u8]) -> Result<Self, Error> {
        let provider = Arc::new(provider());
        let pin = Arc::new(Pin {
            certificate: CertificateDer::from(peer.to_vec()),
            provider: provider.clone(),
        });
        let chain = || vec![own.certificate().clone()];
        let mut client = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(pin.clone())
            .with_client_auth_cert(chain(), own.key())?;
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(pin)
            .with_single_cert(chain(), own.key())?;
        // Each process is connected to once: there is nothing to resume, so no tickets either.
        client.resumption = rustls::client::Resumption::disabled();
        server.send_tls13_tickets = 0;
        let name = ServerName::try_from(SERVER_NAME).expect("localhost is a name");
        Ok(Self::default().dial_with(client, name).accept_with(server))
    }

    /// Creates a `Tls` without either configuration.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how connections are dialled, and the name that the other side's certificate must bear. A
    /// host needs this; a plugin needs it only to dial brokered connections.
    #[must_use]
    pub fn dial_with(mut self, mut config: ClientConfig, name: ServerName<'static>) -> Self {
        config.alpn_protocols = vec![b"h2".to_vec()];
        self.client = Some((Arc::new(config), name));
        self
    }

    /// Sets how connections are accepted. A plugin needs this; a host needs it only to accept brokered
    /// connections.
    #[must_use]
    pub fn accept_with(mut self, mut config: ServerConfig) -> Self {
        config.alpn_protocols = vec![b"h2".to_vec()];
        self.server = Some(Arc::new(config));
        self
    }

    /// Returns the `:authority` of calls: the server's name, as in grpc-go.
    pub(crate) fn authority(&self) -> Option<String> {
        self.client.as_ref().map(|(_, name)| name.to_str().into_owned())
    }

    pub(crate) async fn connect(&self, io: BoxIo) -> std::io::Result<BoxIo> {
        let Some((config, name)) = &self.client else {
            return Err(std::io::Error::other(
                "this TLS configuration cannot dial: set it with Tls::dial_with",
            ));
        };
        Ok(Box::new(TlsConnector::from(config.clone()).connect(name.clone(), io).await?))
    }

    pub(crate) async fn accept(&self, io: BoxIo) -> std::io::Result<BoxIo> {
        let Some(config) = &self.server else {
            return Err(std::io::Error::other(
                "this TLS configuration cannot accept: set it with Tls::accept_with",
            ));
        };
        Ok(Box::new(TlsAcceptor::from(config.clone()).accept(io).await?))
    }
}

/// Accepts one certificate, and only from the holder of its private key.
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

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use rustls::ProtocolVersion;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Both sides of a pinned connection, the dialling one limited to `versions`.
    fn pinned(
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> (TlsConnector, TlsAcceptor) {
        let (host, plugin) =
            (Identity::generate().expect("a key"), Identity::generate().expect("a key"));
        let server =
            Tls::pinned(&plugin, host.certificate()).expect("TLS").server.expect("a server");
        let provider = Arc::new(provider());
        let pin =
            Arc::new(Pin { certificate: plugin.certificate().clone(), provider: provider.clone() });
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .dangerous()
            .with_custom_certificate_verifier(pin)
            .with_client_auth_cert(vec![host.certificate().clone()], host.key())
            .expect("TLS");
        (TlsConnector::from(Arc::new(client)), TlsAcceptor::from(server))
    }

    /// Sends one byte over a pinned connection, and returns the version that was negotiated.
    async fn handshake(versions: &[&'static rustls::SupportedProtocolVersion]) -> ProtocolVersion {
        let (connector, acceptor) = pinned(versions);
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let name = ServerName::try_from(SERVER_NAME).expect("a name");
        let (client, server) = tokio::join!(connector.connect(name, ours), acceptor.accept(theirs));
        let (mut client, mut server) = (client.expect("accepted"), server.expect("accepted"));
        client.write_all(b"x").await.expect("sent");
        client.flush().await.expect("sent");
        assert_eq!(server.read_u8().await.expect("received"), b'x');
        client.get_ref().1.protocol_version().expect("negotiated")
    }

    #[tokio::test]
    async fn both_versions_of_tls_work() {
        for version in rustls::ALL_VERSIONS {
            assert_eq!(handshake(&[version]).await, version.version);
        }
    }

    /// aws-lc asks the kernel to wipe a page of its own in a forked child before it draws its first
    /// random number. The page shows as `wf` in `smaps`; glibc's own page of that kind is also `dp`.
    fn aws_lc_has_drawn_random_numbers() -> bool {
        let maps = std::fs::read_to_string("/proc/self/smaps").expect("this process's memory");
        let mut flags = maps.lines().filter_map(|line| line.strip_prefix("VmFlags:"));
        flags.any(|flags| {
            let has = |flag| flags.split_whitespace().any(|it| it == flag);
            has("wf") && !has("dp")
        })
    }

    const IN_CHILD: &str = "PLUGWIRE_TEST_FRESH_PROCESS";

    /// aws-lc's first random number costs 30 to 40 ms in every process, so no handshake may draw one.
    /// The check needs a process in which no other test has run: this test's own program, run once more.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_pinned_handshake_draws_no_random_number_from_aws_lc() {
        if std::env::var_os(IN_CHILD).is_none() {
            let mut fresh = Command::new(std::env::current_exe().expect("this program"));
            fresh.args([
                "--exact",
                "net::tls::tests::a_pinned_handshake_draws_no_random_number_from_aws_lc",
            ]);
            let output = fresh.env(IN_CHILD, "1").stdin(Stdio::null()).output().expect("it runs");
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && text.contains("1 passed"), "{text}");
            return;
        }
        for version in rustls::ALL_VERSIONS {
            handshake(&[version]).await;
        }
        assert!(!aws_lc_has_drawn_random_numbers(), "the handshake drew from aws-lc");
        // The check itself can fail: here is a number from aws-lc.
        let aws_lc = rustls::crypto::aws_lc_rs::default_provider();
        aws_lc.secure_random.fill(&mut [0; 16]).expect("a random number");
        assert!(aws_lc_has_drawn_random_numbers(), "aws-lc's random numbers leave no trace here");
    }
}
