//! The cryptography behind mutual TLS: ring for everything that needs a random number, aws-lc-rs for
//! cipher suites and for verifying signatures.
//!
//! Two facts force the split. Go's certificates carry P-521 keys, and aws-lc-rs alone can verify their
//! signatures. And aws-lc gathers jitter entropy before its first random number, which costs some 30 to
//! 40 ms in every process. Keys, key exchange and randomness therefore come from ring, through rustls's
//! own traits. rustls's `ring` feature stays off: with two providers enabled,
//! `ClientConfig::builder()` panics anywhere in the user's program.

use std::fmt;
use std::sync::Arc;

use ring::agreement::{self, EphemeralPrivateKey, UnparsedPublicKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, GetRandomFailed, KeyProvider, SecureRandom, SharedSecret,
    SupportedKxGroup, aws_lc_rs,
};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer, alg_id};
use rustls::sign::{Signer, SigningKey, public_key_to_spki};
use rustls::{Error, NamedGroup, PeerMisbehaved, SignatureAlgorithm, SignatureScheme};

/// Returns the provider of every pinned connection.
pub(super) fn provider() -> CryptoProvider {
    CryptoProvider {
        kx_groups: vec![&X25519, &SECP256R1, &SECP384R1],
        secure_random: &Ring,
        key_provider: &Ring,
        ..aws_lc_rs::default_provider()
    }
}

/// Random numbers and private keys.
#[derive(Debug)]
struct Ring;

impl SecureRandom for Ring {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), GetRandomFailed> {
        SystemRandom::new().fill(buffer).map_err(|_| GetRandomFailed)
    }
}

impl KeyProvider for Ring {
    /// Loads an [`Identity`](super::identity::Identity)'s key. No other kind of key ever gets here.
    fn load_private_key(&self, der: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        let PrivateKeyDer::Pkcs8(der) = der else {
            return Err(Error::General("the private key is not in PKCS#8".to_owned()));
        };
        let random = SystemRandom::new();
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der.secret_pkcs8_der(), &random)
            .map(|key| Arc::new(P256Key(Arc::new(key))) as Arc<dyn SigningKey>)
            .map_err(|rejected| Error::General(format!("not a P-256 private key: {rejected}")))
    }
}

/// A P-256 private key, which signs with SHA-256.
struct P256Key(Arc<EcdsaKeyPair>);

const P256_SCHEME: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;

impl SigningKey for P256Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let signer = || Box::new(P256Signer(self.0.clone())) as Box<dyn Signer>;
        offered.contains(&P256_SCHEME).then(signer)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(public_key_to_spki(&alg_id::ECDSA_P256, self.0.public_key()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl fmt::Debug for P256Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("P256Key").finish_non_exhaustive()
    }
}

struct P256Signer(Arc<EcdsaKeyPair>);

impl Signer for P256Signer {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signature = self.0.sign(&SystemRandom::new(), message);
        let signature = signature.map_err(|_| Error::General("signing failed".to_owned()))?;
        Ok(signature.as_ref().to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        P256_SCHEME
    }
}

impl fmt::Debug for P256Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("P256Signer").finish_non_exhaustive()
    }
}

static X25519: Group = Group {
    name: NamedGroup::X25519,
    algorithm: &agreement::X25519,
    has_shape: |key| key.len() == 32,
};
static SECP256R1: Group = Group {
    name: NamedGroup::secp256r1,
    algorithm: &agreement::ECDH_P256,
    has_shape: is_uncompressed_point,
};
static SECP384R1: Group = Group {
    name: NamedGroup::secp384r1,
    algorithm: &agreement::ECDH_P384,
    has_shape: is_uncompressed_point,
};

/// TLS knows no other encoding of a point: RFC 8446, 4.2.8.2.
fn is_uncompressed_point(key: &[u8]) -> bool {
    key.first() == Some(&0x04)
}

/// A key-exchange group.
#[derive(Clone, Copy)]
struct Group {
    name: NamedGroup,
    algorithm: &'static agreement::Algorithm,
    /// Tells whether a peer's public key looks like one. ring checks that the point is on the curve.
    has_shape: fn(&[u8]) -> bool,
}

impl SupportedKxGroup for Group {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let private = EphemeralPrivateKey::generate(self.algorithm, &SystemRandom::new())
            .map_err(|_| GetRandomFailed)?;
        let public = private.compute_public_key().map_err(|_| GetRandomFailed)?;
        Ok(Box::new(Exchange { group: *self, private, public }))
    }

    /// None: these groups are elliptic curves.
    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        self.name
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

/// A key exchange that waits for the peer's public key.
struct Exchange {
    group: Group,
    private: EphemeralPrivateKey,
    public: agreement::PublicKey,
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let invalid = || Error::from(PeerMisbehaved::InvalidKeyShare);
        if !(self.group.has_shape)(peer) {
            return Err(invalid());
        }
        let peer = UnparsedPublicKey::new(self.group.algorithm, peer);
        let secret = |secret: &[u8]| SharedSecret::from(secret);
        agreement::agree_ephemeral(self.private, &peer, secret).map_err(|_| invalid())
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn pub_key(&self) -> &[u8] {
        self.public.as_ref()
    }

    fn group(&self) -> NamedGroup {
        self.group.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_of_an_exchange_agree() {
        for group in provider().kx_groups {
            let (ours, theirs) = (group.start().expect("a key"), group.start().expect("a key"));
            let (our_key, their_key) = (ours.pub_key().to_vec(), theirs.pub_key().to_vec());
            let ours = ours.complete(&their_key).expect("a secret");
            let theirs = theirs.complete(&our_key).expect("a secret");
            assert_eq!(ours.secret_bytes(), theirs.secret_bytes(), "{group:?}");
        }
    }

    #[test]
    fn a_key_share_that_is_no_point_is_refused() {
        for group in provider().kx_groups {
            let length = group.start().expect("a key").pub_key().len();
            for wrong in [vec![], vec![2; 33], vec![4; length + 1], vec![4; length - 1]] {
                let exchange = group.start().expect("a key");
                assert!(exchange.complete(&wrong).is_err(), "{group:?}: {wrong:?}");
            }
        }
    }
}
