//! What a host says about itself and the people on it, signed with its vouch key.
//!
//! In: a claim of the agent. Out: the claim, once signature, host, connection and order were checked.
//! The link that carries these can delay them, not make or repeat them (ARCHITECTURE §3). Spec: docs/wire.md "Vouches".

use serde::{Deserialize, Serialize};

use crate::id::{HostId, Nonce};
use crate::message::agent::Claim;
use crate::signed::{SignedBody, TrustedKeys, VOUCH_NAMESPACE, VerifyError};

/// A claim and what binds it: to a host, to one connection, to its place on that connection.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vouch {
    /// The host that speaks.
    pub host: HostId,
    /// The nonce of the daemon's hello on this connection.
    pub nonce: Nonce,
    /// 1 for the first vouch of a connection, then one more each.
    pub count: u64,
    /// What is claimed.
    pub claim: Claim,
}

/// Why a vouch was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VouchError {
    /// The signature does not hold.
    #[error("the vouch is not signed by this host")]
    Signature {
        /// What exactly.
        source: VerifyError,
    },
    /// The signed bytes are no vouch.
    #[error("the signed bytes are no vouch: {reason}")]
    Parse {
        /// What serde says.
        reason: String,
    },
    /// Made for another host, another connection or another place.
    #[error("the vouch is of another host or connection, or out of its order")]
    Elsewhere,
}

/// The daemon's end of one connection: knows which vouch must come next.
#[derive(Debug)]
pub struct VouchReader {
    keys: TrustedKeys,
    host: HostId,
    nonce: Nonce,
    next: u64,
}

impl VouchReader {
    /// For the connection whose hello carried `nonce`, of the host with these vouch keys.
    #[must_use]
    pub fn new(keys: TrustedKeys, host: HostId, nonce: Nonce) -> Self {
        Self { keys, host, nonce, next: 1 }
    }

    /// The claim of the next vouch.
    ///
    /// # Errors
    /// A [`VouchError`]; the connection is to be closed then.
    pub fn open(&mut self, signed: &SignedBody) -> Result<Claim, VouchError> {
        let body =
            signed.verify(&self.keys, VOUCH_NAMESPACE).map_err(|source| VouchError::Signature { source })?;
        let vouch: Vouch =
            serde_json::from_str(body).map_err(|error| VouchError::Parse { reason: error.to_string() })?;
        if vouch.host != self.host || vouch.nonce != self.nonce || vouch.count != self.next {
            return Err(VouchError::Elsewhere);
        }
        self.next = self.next.saturating_add(1);
        Ok(vouch.claim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;
    use ssh_key::{PrivateKey, private::Ed25519Keypair};

    fn signed(key: &PrivateKey, host: u8, nonce: u8, count: u64) -> SignedBody {
        let vouch = Vouch {
            host: HostId::from_random([host; 16]),
            nonce: Nonce::from_random([nonce; 16]),
            count,
            claim: Claim::Heartbeat { time: Timestamp(1) },
        };
        SignedBody::sign(serde_json::to_string(&vouch).unwrap(), key, VOUCH_NAMESPACE).unwrap()
    }

    #[test]
    fn c13_a_vouch_counts_once_in_its_place_on_its_connection() {
        let key = PrivateKey::from(Ed25519Keypair::from_seed(&[3; 32]));
        let other = PrivateKey::from(Ed25519Keypair::from_seed(&[4; 32]));
        let keys = TrustedKeys::one(key.public_key().clone()).unwrap();
        let mut reader = VouchReader::new(keys, HostId::from_random([1; 16]), Nonce::from_random([2; 16]));
        let first = signed(&key, 1, 2, 1);
        assert!(matches!(reader.open(&first), Ok(Claim::Heartbeat { .. })));
        assert_eq!(reader.open(&first).unwrap_err(), VouchError::Elsewhere);
        assert_eq!(reader.open(&signed(&key, 1, 2, 3)).unwrap_err(), VouchError::Elsewhere);
        assert_eq!(reader.open(&signed(&key, 1, 9, 2)).unwrap_err(), VouchError::Elsewhere);
        assert_eq!(reader.open(&signed(&key, 9, 2, 2)).unwrap_err(), VouchError::Elsewhere);
        assert!(matches!(reader.open(&signed(&other, 1, 2, 2)), Err(VouchError::Signature { .. })));
        assert!(matches!(reader.open(&signed(&key, 1, 2, 2)), Ok(Claim::Heartbeat { .. })));
    }
}
