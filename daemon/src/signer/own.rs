//! A key in this process.
//!
//! In: bytes. Out: a signature over them. By a P-256 key ring signs, since the library that reads the key is slow at it and each certificate
//! waits for that (docs/decisions/0047-p-256-signs-for-people.md).

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use ssh_key::encoding::Encode;
use ssh_key::private::EcdsaKeypair;
use ssh_key::public::KeyData;
use ssh_key::{Algorithm, EcdsaCurve, HashAlg, LineEnding, Mpint, PrivateKey, Signature, SshSig};

/// Bytes of each half of a signature.
const HALF: usize = 32;

/// The key, and for P-256 the same once more as ring has it, which does not wipe it: it lives as long as the key does, in a process that
/// has it in memory anyway.
pub(super) struct Own {
    key: PrivateKey,
    p256: Option<EcdsaKeyPair>,
}

impl Own {
    /// A key that was read or made.
    pub(super) fn of(key: PrivateKey) -> Self {
        let p256 = key.key_data().ecdsa().and_then(paired);
        Self { key, p256 }
    }

    /// The armoured signature over a document (PROTOCOL.sshsig).
    pub(super) fn sshsig(&self, body: &str, namespace: &str) -> Result<String, ssh_key::Error> {
        SshSig::sign(self, namespace, HashAlg::Sha512, body.as_bytes())?.to_pem(LineEnding::LF)
    }
}

impl From<&Own> for KeyData {
    fn from(own: &Own) -> Self {
        own.key.public_key().key_data().clone()
    }
}

impl signature::Signer<Signature> for Own {
    fn try_sign(&self, bytes: &[u8]) -> Result<Signature, signature::Error> {
        let Some(pair) = &self.p256 else { return self.key.try_sign(bytes) };
        let made = pair.sign(&SystemRandom::new(), bytes).map_err(|_| signature::Error::new())?;
        Ok(written(made.as_ref())?)
    }
}

/// As ring has it. Halves of two keys are no pair for it; what the other library makes of them nobody believes either.
fn paired(key: &EcdsaKeypair) -> Option<EcdsaKeyPair> {
    let EcdsaKeypair::NistP256 { public, private } = key else { return None };
    let (private, public, random) = (private.as_slice(), public.as_bytes(), SystemRandom::new());
    EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_FIXED_SIGNING, private, public, &random)
        .ok()
}

/// RFC 5656 3.1.2: the numbers r and s, one after the other.
fn written(halves: &[u8]) -> Result<Signature, ssh_key::Error> {
    let (r, s) = halves.split_at_checked(HALF).ok_or(ssh_key::Error::FormatEncoding)?;
    let mut data = Vec::new();
    Mpint::from_positive_bytes(r).encode(&mut data)?;
    Mpint::from_positive_bytes(s).encode(&mut data)?;
    Signature::new(Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 }, data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys;
    use signature::{Signer as _, Verifier as _};
    use ssh_key::private::Ed25519Keypair;

    #[test]
    fn every_signature_of_either_type_is_by_the_key_and_over_the_bytes() {
        let p256 = keys::p256(&[7; 32]).unwrap();
        assert!(Own::of(p256.clone()).p256.is_some());
        for key in [p256, PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32]))] {
            let (own, public) = (Own::of(key.clone()), key.public_key().key_data().clone());
            assert_eq!(KeyData::from(&own), public);
            // A half of an ECDSA signature begins with a zero, or with a bit that needs one before it, in most of these.
            for n in 0..=255u8 {
                let made: Signature = own.try_sign(&[n; 300]).unwrap();
                public.verify(&[n; 300], &made).unwrap();
                assert!(public.verify(&[n; 299], &made).is_err());
            }
        }
    }

    #[test]
    fn halves_of_two_keys_sign_nothing_that_is_believed() {
        let (one, other) = (keys::p256(&[1; 32]).unwrap(), keys::p256(&[2; 32]).unwrap());
        let half = |key: &PrivateKey| key.key_data().ecdsa().cloned().unwrap();
        let (EcdsaKeypair::NistP256 { private, .. }, EcdsaKeypair::NistP256 { public, .. }) =
            (half(&one), half(&other))
        else {
            panic!("other curves")
        };
        let mixed = EcdsaKeypair::NistP256 { public, private };
        let own = Own::of(PrivateKey::from(mixed));
        assert!(own.p256.is_none());
        let made: Signature = own.try_sign(b"bytes").unwrap();
        assert!(KeyData::from(&own).verify(b"bytes", &made).is_err());
    }
}
