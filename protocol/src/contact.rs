//! Proof of contact: the daemon's signed word, at a host's question, that every document for it has been sent.
//!
//! In: a question's nonce. Out: [`Contact`], once signature, host and question were checked. The link that carries it can
//! withhold it, not make it, keep it for later or hide a document behind it. Spec: docs/wire.md "Contact".

use serde::{Deserialize, Serialize};
use ssh_key::PrivateKey;

use crate::id::{ClusterId, HostId, Nonce};
use crate::signed::{SignedBody, TrustedKeys, VerifyError};
use crate::time::{Span, Timestamp};

/// SSHSIG namespace of proofs of contact; the key is the one that signs grants.
pub const CONTACT_NAMESPACE: &str = "elevate-contact@v1";
/// How often a host asks while it holds a grant with a lease: at least three times within the shortest.
const ASK_EVERY: Span = Span(15);

/// What the daemon says of one host at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contact {
    /// The cluster that speaks.
    pub cluster: ClusterId,
    /// The host that asked.
    pub host: HostId,
    /// Its question.
    pub nonce: Nonce,
    /// The epoch of the host's log.
    pub epoch: u32,
    /// Place of the last document of the host's log: contact counts once this one was applied.
    pub seq: u64,
    /// The daemon's clock.
    pub time: Timestamp,
}

/// Why an answer proves no contact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContactError {
    /// The signature does not hold.
    #[error("the answer about contact is not signed by the daemon")]
    Signature {
        /// What exactly.
        source: VerifyError,
    },
    /// The signed bytes are no answer.
    #[error("the signed bytes are no answer about contact: {reason}")]
    Parse {
        /// What serde says.
        reason: String,
    },
    /// By a key that was replaced since. Who has it could prove contact behind which the log goes on.
    #[error("the answer about contact is signed by a key that was replaced")]
    Replaced,
    /// Of another cluster, for another host, or to another question.
    #[error("the answer about contact is not to this host's question")]
    Elsewhere,
}

impl Contact {
    /// Signs it.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn sign(&self, key: &PrivateKey) -> Result<SignedBody, ssh_key::Error> {
        SignedBody::sign(self.to_text(), key, CONTACT_NAMESPACE)
    }

    /// The bytes that are signed.
    #[must_use]
    pub fn to_text(&self) -> String {
        // No value of this type fails to be written; were it so, the empty text proves nothing.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads an answer to the question `nonce` of `host`.
    ///
    /// # Errors
    /// A [`ContactError`]; the answer proves nothing then.
    pub fn open(
        signed: &SignedBody,
        keys: &TrustedKeys,
        (cluster, host, nonce): (ClusterId, HostId, Nonce),
    ) -> Result<Self, ContactError> {
        let verified = signed.verified_by(keys, CONTACT_NAMESPACE);
        let (body, key) = verified.map_err(|source| ContactError::Signature { source })?;
        if key.last().is_some() {
            return Err(ContactError::Replaced);
        }
        let said: Self =
            serde_json::from_str(body).map_err(|error| ContactError::Parse { reason: error.to_string() })?;
        if (said.cluster, said.host, said.nonce) != (cluster, host, nonce) {
            return Err(ContactError::Elsewhere);
        }
        Ok(said)
    }
}

/// How long a host that holds grants with these leases waits between two questions; none: it need not ask.
#[must_use]
pub fn ask_every(leases: impl IntoIterator<Item = Span>) -> Option<Span> {
    let shortest = leases.into_iter().min()?;
    Some(Span((shortest.0 / 3).clamp(1, ASK_EVERY.0)))
}

#[cfg(test)]
mod tests {
    use ssh_key::private::Ed25519Keypair;

    use super::*;
    use crate::signed::{GRANT_NAMESPACE, VOUCH_NAMESPACE};
    use crate::signers::{Last, TrustedKey};

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
    }

    fn said() -> Contact {
        Contact {
            cluster: ClusterId::from_random([1; 16]),
            host: HostId::from_random([2; 16]),
            nonce: Nonce::from_random([3; 16]),
            epoch: 1,
            seq: 12,
            time: Timestamp(1_795_000_000),
        }
    }

    fn open(signed: &SignedBody) -> Result<Contact, ContactError> {
        let keys = TrustedKeys::one(key(7).public_key().clone()).unwrap();
        let Contact { cluster, host, nonce, .. } = said();
        Contact::open(signed, &keys, (cluster, host, nonce))
    }

    #[test]
    fn an_answer_counts_for_its_own_question_on_its_own_host() {
        assert_eq!(open(&said().sign(&key(7)).unwrap()), Ok(said()));
        let others = [
            Contact { nonce: Nonce::from_random([4; 16]), ..said() },
            Contact { host: HostId::from_random([4; 16]), ..said() },
            Contact { cluster: ClusterId::from_random([4; 16]), ..said() },
        ];
        for other in others {
            assert_eq!(open(&other.sign(&key(7)).unwrap()), Err(ContactError::Elsewhere));
        }
    }

    #[test]
    fn only_the_daemons_key_in_the_namespace_of_contact_proves_it() {
        let untrusted = open(&said().sign(&key(8)).unwrap());
        assert_eq!(untrusted, Err(ContactError::Signature { source: VerifyError::NotTrusted }));
        let body = serde_json::to_string(&said()).unwrap();
        for namespace in [GRANT_NAMESPACE, VOUCH_NAMESPACE] {
            let signed = SignedBody::sign(body.clone(), &key(7), namespace).unwrap();
            assert!(matches!(open(&signed), Err(ContactError::Signature { .. })), "{namespace}");
        }
        let mut changed = said().sign(&key(7)).unwrap();
        changed.body = changed.body.replace("\"seq\":12", "\"seq\":11");
        assert!(matches!(open(&changed), Err(ContactError::Signature { .. })));
        let signed = SignedBody::sign(body.replace('}', ",\"more\":1}"), &key(7), CONTACT_NAMESPACE).unwrap();
        assert!(matches!(open(&signed), Err(ContactError::Parse { .. })));
    }

    /// Threats G05 and K05: for documents up to its last place a replaced key counts, for contact not at all.
    #[test]
    fn k05_a_key_that_was_replaced_proves_no_contact() {
        let last = Last { until: Timestamp(1_800_000_000), place: (1, 12) };
        let old = TrustedKey::new(key(7).public_key(), Some(last)).unwrap();
        let next = TrustedKey::new(key(8).public_key(), None).unwrap();
        let keys = TrustedKeys::new(vec![old, next]).unwrap();
        let open = |by: u8| {
            let Contact { cluster, host, nonce, .. } = said();
            Contact::open(&said().sign(&key(by)).unwrap(), &keys, (cluster, host, nonce))
        };
        assert_eq!((open(7), open(8)), (Err(ContactError::Replaced), Ok(said())));
    }

    #[test]
    fn the_shortest_lease_says_how_often_to_ask() {
        assert_eq!(ask_every([]), None);
        assert_eq!(ask_every([Span(300), Span(30)]), Some(Span(10)));
        assert_eq!(ask_every([Span(300)]), Some(ASK_EVERY));
        assert_eq!(ask_every([Span(1)]), Some(Span(1)));
    }
}
