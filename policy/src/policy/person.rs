//! A person of the policy: stable id, login on hosts, public keys, dates.
//!
//! In: what `parse` checked. Out: [`Person`]. Spec: docs/policy.md "`[people]`".

use elevate_protocol::name::{Login, Name};
use elevate_protocol::time::Timestamp;
use ssh_key::{Fingerprint, PublicKey};

/// A human or a service identity.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Person {
    /// The stable id.
    pub name: Name,
    /// What hosts call the person; the id when the policy does not say.
    pub login: Login,
    /// Public keys for door 2, perhaps none.
    pub keys: Vec<PersonKey>,
    /// First second in which the person is no longer anybody here; none: no end.
    pub until: Option<Timestamp>,
    /// Who leads them; told, not used in decisions.
    pub manager: Option<Name>,
    /// Who answers for an external person; told, not used in decisions.
    pub sponsor: Option<Name>,
}

impl Person {
    /// Whether the person's entry still holds.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| now >= until)
    }

    /// The second from which on it no longer holds, as RFC 3339 in UTC; `no end` where there is none.
    #[must_use]
    pub fn end_text(&self) -> String {
        self.until.map_or_else(|| "no end".to_owned(), super::moment::moment_text)
    }
}

/// A plain public key of a person, strong enough and of one person only.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PersonKey {
    /// The key and its comment.
    pub public: PublicKey,
    /// Its SHA-256 fingerprint, by which the listener looks the person up.
    pub fingerprint: Fingerprint,
}
