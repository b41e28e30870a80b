//! A new epoch of a host's log: the daemon's signed word that its log is not the one that the host has applied.
//!
//! In: the nonce of a host's hello. Out: [`NewEpoch`], once signature, host and hello were checked. It changes nothing by itself: the
//! host's root has the last word. Spec: docs/wire.md "Epochs". Threat R25.

use serde::{Deserialize, Serialize};
use ssh_key::PrivateKey;

use crate::id::{ClusterId, HostId, Nonce};
use crate::signed::{SignedBody, TrustedKeys, VerifyError};

/// SSHSIG namespace of new epochs; the key is the one that signs grants.
pub const EPOCH_NAMESPACE: &str = "elevate-epoch@v1";

/// What the daemon says to a host with another log than its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewEpoch {
    /// The cluster that speaks.
    pub cluster: ClusterId,
    /// The host that said hello.
    pub host: HostId,
    /// The nonce of its hello.
    pub nonce: Nonce,
    /// The epoch that begins with the word of the host's root.
    pub epoch: u32,
}

/// Why nobody said so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EpochError {
    /// The signature does not hold.
    #[error("the word about a new epoch is not signed by the daemon")]
    Signature {
        /// What exactly.
        source: VerifyError,
    },
    /// The signed bytes are none.
    #[error("the signed bytes are no word about a new epoch: {reason}")]
    Parse {
        /// What serde says.
        reason: String,
    },
    /// By a key that was replaced since: a backup from before that, in whoever's hands.
    #[error("the word about a new epoch is signed by a key that was replaced")]
    Replaced,
    /// Of another cluster, for another host, or after another hello.
    #[error("the word about a new epoch is not the answer to this host's hello")]
    Elsewhere,
}

impl NewEpoch {
    /// Signs it.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn sign(&self, key: &PrivateKey) -> Result<SignedBody, ssh_key::Error> {
        SignedBody::sign(self.to_text(), key, EPOCH_NAMESPACE)
    }

    /// The bytes that are signed.
    #[must_use]
    pub fn to_text(&self) -> String {
        // No value of this type fails to be written; were it so, the empty text says nothing.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads the answer to the hello `nonce` of `host`.
    ///
    /// # Errors
    /// An [`EpochError`]; nothing was said then.
    pub fn open(
        signed: &SignedBody,
        keys: &TrustedKeys,
        (cluster, host, nonce): (ClusterId, HostId, Nonce),
    ) -> Result<Self, EpochError> {
        let verified = signed.verified_by(keys, EPOCH_NAMESPACE);
        let (body, key) = verified.map_err(|source| EpochError::Signature { source })?;
        if key.last().is_some() {
            return Err(EpochError::Replaced);
        }
        let said: Self =
            serde_json::from_str(body).map_err(|error| EpochError::Parse { reason: error.to_string() })?;
        if (said.cluster, said.host, said.nonce) != (cluster, host, nonce) {
            return Err(EpochError::Elsewhere);
        }
        Ok(said)
    }
}

#[cfg(test)]
mod tests {
    use ssh_key::private::Ed25519Keypair;

    use super::*;
    use crate::contact::CONTACT_NAMESPACE;
    use crate::signed::GRANT_NAMESPACE;
    use crate::signers::{Last, TrustedKey};
    use crate::time::Timestamp;

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
    }

    fn said() -> NewEpoch {
        NewEpoch {
            cluster: ClusterId::from_random([1; 16]),
            host: HostId::from_random([2; 16]),
            nonce: Nonce::from_random([3; 16]),
            epoch: 2,
        }
    }

    fn open(signed: &SignedBody) -> Result<NewEpoch, EpochError> {
        let keys = TrustedKeys::one(key(7).public_key().clone()).unwrap();
        let NewEpoch { cluster, host, nonce, .. } = said();
        NewEpoch::open(signed, &keys, (cluster, host, nonce))
    }

    /// Threats R25 and K05: a stolen backup with the key before begins no epoch.
    #[test]
    fn k05_a_key_that_was_replaced_says_no_new_epoch() {
        let last = Last { until: Timestamp(1_800_000_000), place: (1, 12) };
        let old = TrustedKey::new(key(7).public_key(), Some(last)).unwrap();
        let next = TrustedKey::new(key(8).public_key(), None).unwrap();
        let keys = TrustedKeys::new(vec![old, next]).unwrap();
        let open = |by: u8| {
            let NewEpoch { cluster, host, nonce, .. } = said();
            NewEpoch::open(&said().sign(&key(by)).unwrap(), &keys, (cluster, host, nonce))
        };
        assert_eq!((open(7), open(8)), (Err(EpochError::Replaced), Ok(said())));
    }

    #[test]
    fn a_new_epoch_is_said_by_the_daemons_key_to_one_hello() {
        assert_eq!(open(&said().sign(&key(7)).unwrap()), Ok(said()));
        let untrusted = open(&said().sign(&key(8)).unwrap());
        assert_eq!(untrusted, Err(EpochError::Signature { source: VerifyError::NotTrusted }));
        for other in [
            NewEpoch { nonce: Nonce::from_random([4; 16]), ..said() },
            NewEpoch { host: HostId::from_random([4; 16]), ..said() },
            NewEpoch { cluster: ClusterId::from_random([4; 16]), ..said() },
        ] {
            assert_eq!(open(&other.sign(&key(7)).unwrap()), Err(EpochError::Elsewhere));
        }
        let body = serde_json::to_string(&said()).unwrap();
        for namespace in [GRANT_NAMESPACE, CONTACT_NAMESPACE] {
            let signed = SignedBody::sign(body.clone(), &key(7), namespace).unwrap();
            assert!(matches!(open(&signed), Err(EpochError::Signature { .. })), "{namespace}");
        }
        let more = SignedBody::sign(body.replace('}', ",\"more\":1}"), &key(7), EPOCH_NAMESPACE).unwrap();
        assert!(matches!(open(&more), Err(EpochError::Parse { .. })));
    }
}
