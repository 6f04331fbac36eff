//! TLS configured by the user instead of exchanged certificates: an authority, the certificates it
//! signs, and the configuration that the Go programs here make from the same files.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use plugwire::net::Tls;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tempfile::TempDir;

/// A certificate authority that signs certificates into files.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    /// Creates a new authority.
    #[expect(clippy::new_without_default, reason = "creates a key and a directory")]
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        Self { issuer, folder: tempfile::tempdir().expect("a directory") }
    }

    /// Issues a certificate for `localhost` and writes it, its key and the authority's certificate
    /// to files. The files are removed with the authority.
    pub fn issue(&self, file_name: &str) -> TlsFiles {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        let file = |kind: &str, text: String| {
            let path = self.folder.path().join(format!("{file_name}.{kind}.pem"));
            fs::write(&path, text).expect("write");
            path
        };
        TlsFiles {
            cert: file("cert", cert.pem()),
            key: file("key", key.serialize_pem()),
            ca: file("ca", self.issuer.pem()),
        }
    }
}

/// The TLS files of one side.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate of this side.
    pub cert: PathBuf,
    /// The key of this side.
    pub key: PathBuf,
    /// The authority that this side trusts.
    pub ca: PathBuf,
}

impl TlsFiles {
    /// Returns the options that make a program use these files.
    pub fn arguments(&self) -> [OsString; 3] {
        [("cert", &self.cert), ("key", &self.key), ("ca", &self.ca)].map(|(name, path)| {
            let mut argument = OsString::from(format!("--tls-{name}="));
            argument.push(path);
            argument
        })
    }

    /// Parses the options that [`arguments`](Self::arguments) returns.
    pub fn from_arguments(arguments: &[String]) -> Option<Self> {
        let file = |name: &str| {
            let prefix = format!("--tls-{name}=");
            arguments.iter().find_map(|argument| argument.strip_prefix(&prefix)).map(PathBuf::from)
        };
        Some(Self { cert: file("cert")?, key: file("key")?, ca: file("ca")? })
    }

    /// Returns the configuration of both sides; each verifies the other.
    pub fn tls(&self) -> Tls {
        let localhost = ServerName::try_from("localhost").expect("a name");
        Tls::new().dial_with(self.client(), localhost).accept_with(self.server())
    }

    fn client(&self) -> ClientConfig {
        ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("ring supports these versions")
            .with_root_certificates(self.roots())
            .with_client_auth_cert(chain(&self.cert), key(&self.key))
            .expect("a pair")
    }

    fn server(&self) -> ServerConfig {
        let roots = Arc::new(self.roots());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
        ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("ring supports these versions")
            .with_client_cert_verifier(verifier.build().expect("an authority"))
            .with_single_cert(chain(&self.cert), key(&self.key))
            .expect("a pair")
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        for certificate in chain(&self.ca) {
            roots.add(certificate).expect("an authority");
        }
        roots
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn chain(path: &Path) -> Vec<CertificateDer<'static>> {
    let certificates = CertificateDer::pem_file_iter(path).expect("the file is there");
    certificates.map(|certificate| certificate.expect("PEM")).collect()
}

fn key(path: &Path) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_file(path).expect("a key")
}
