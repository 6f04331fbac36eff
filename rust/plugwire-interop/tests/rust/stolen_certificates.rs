//! TLS-3, TLS-4: a certificate is public; it stood in the environment or on a pipe. A peer that
//! presents the right certificate without its key is rejected in both roles, with TLS 1.3 and with
//! 1.2, where other code verifies the handshake. (Go programs show the same with TLS 1.3; see
//! `tests/go/tls_refusals.rs`.) Each case is also tried with the right key.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use plugwire::host::StartError;
use plugwire::http2::ConnectStep;
use plugwire::protocol::certificate;
use plugwire_interop::rust;
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::scene::Scene;
use rcgen::KeyPair;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, ServerConfig,
    ServerConnection, SignatureScheme, StreamOwned, SupportedProtocolVersion,
};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(20);

/// A certificate with its own key or with another one.
struct Presented {
    certificate: CertificateDer<'static>,
    signer: KeyPair,
}

impl Presented {
    fn new(stolen: bool) -> Self {
        let key = KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate").der().clone();
        let signer = if stolen { KeyPair::generate().expect("a key") } else { key };
        Self { certificate, signer }
    }

    /// Returns the pair for rustls, which does not check that the two match.
    fn pair(&self) -> Arc<SingleCertAndKey> {
        let key = PrivatePkcs8KeyDer::from(self.signer.serialize_der());
        let key = provider().key_provider.load_private_key(key.into()).expect("a key");
        Arc::new(SingleCertAndKey::from(CertifiedKey::new(vec![self.certificate.clone()], key)))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// All combinations: the version of TLS, and whether the certificate is stolen.
const WAYS: [(&SupportedProtocolVersion, bool); 4] =
    [(&TLS12, false), (&TLS12, true), (&TLS13, false), (&TLS13, true)];

/// A plugin that presents the announced certificate; this test listens in its place.
#[tokio::test]
async fn a_plugin_that_has_the_announced_certificate() {
    for (version, stolen) in WAYS {
        let presented = Presented::new(stolen);
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .expect("ring supports this version")
            .with_no_client_auth()
            .with_cert_resolver(presented.pair());
        config.alpn_protocols = vec![b"h2".to_vec()];
        let folder = tempfile::tempdir().expect("a directory");
        let socket = folder.path().join("plugin");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let server = thread::spawn(move || handshake(&listener, config));

        let scene = Scene::new();
        let field = certificate::encode_field(&presented.certificate);
        let script = r#"echo "1|1|unix|$0|grpc|$1"; sleep 60"#;
        let error = scene.refuse(scene.script(script, &[&socket, Path::new(&field)])).await;
        let StartError::Connect { step, cause, .. } = error else { panic!("{error:?}") };
        if stolen {
            let bad = rustls::Error::InvalidCertificate(CertificateError::BadSignature);
            let cause = cause.get_ref().and_then(|cause| cause.downcast_ref());
            assert_eq!((step, cause), (ConnectStep::Tls, Some(&bad)), "{version:?}");
        } else {
            assert_eq!(step, ConnectStep::Http2, "the handshake succeeded, {version:?}: {cause:?}");
        }
        assert_eq!(server.join().expect("no panic").is_ok(), !stolen, "{version:?}");
    }
}

/// Accepts one connection, and closes it after the handshake and the first bytes.
fn handshake(listener: &UnixListener, config: ServerConfig) -> io::Result<()> {
    let (stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(SOON))?;
    let connection = ServerConnection::new(Arc::new(config)).expect("a configuration");
    let mut tls = StreamOwned::new(connection, stream);
    tls.read_exact(&mut [0; 24])
}

/// A host that presents the right certificate.
#[tokio::test]
async fn a_host_that_has_the_right_certificate() {
    for (version, stolen) in WAYS {
        let presented = Presented::new(stolen);
        let sandbox = Sandbox::new();
        let mut plugin = sandbox
            .command(rust::example("greeter-plugin"))
            .env("GREETER_PLUGIN", "hello")
            .env("PLUGIN_CLIENT_CERT", certificate::pem(&presented.certificate))
            .stdout(Stdio::piped())
            .spawn()
            .expect("the plugin runs");
        let mut line = String::new();
        let mut stdout = BufReader::new(plugin.stdout.take().expect("it is piped"));
        timeout(SOON, stdout.read_line(&mut line)).await.expect("a line").expect("UTF-8");

        let socket = line.split('|').nth(3).expect("an address").to_owned();
        let answer = tokio::task::spawn_blocking(move || first_bytes(&socket, version, &presented));
        let answer = answer.await.expect("no panic");
        match answer {
            // A SETTINGS frame, possibly empty: its fourth byte is its type.
            Ok(frame) => assert!(!stolen && frame[3] == 4, "{version:?}, {stolen}: {frame:?}"),
            Err(error) => assert!(stolen, "{version:?}: {error}"),
        }
        plugin.kill().await.expect("the plugin can be killed");
    }
}

/// Begins HTTP/2, and returns the header of the plugin's first frame.
fn first_bytes(
    socket: &str,
    version: &'static SupportedProtocolVersion,
    presented: &Presented,
) -> io::Result<[u8; 9]> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[version])
        .expect("ring supports this version")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TrustsAnybody))
        .with_client_cert_resolver(presented.pair());
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(SOON))?;
    let name = ServerName::try_from("localhost").expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a configuration");
    let mut tls = StreamOwned::new(connection, stream);
    let mut frame = [0; 9];
    tls.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")?;
    tls.read_exact(&mut frame)?;
    Ok(frame)
}

/// Accepts any certificate, so that only the plugin can reject the connection.
#[derive(Debug)]
struct TrustsAnybody;

impl ServerCertVerifier for TrustsAnybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
