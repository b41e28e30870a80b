//! Locks: on what, and what one did and could not do.
//!
//! In: [`super::admin::AdminAsk::Lock`] and its like. Out: views for people and JSON. Spec: docs/cli.md "Locks".

use serde::{Deserialize, Serialize};

use super::view::HostState;
use crate::id::ActivationId;
use crate::name::Name;
use crate::text::UntrustedText;
use crate::time::Timestamp;

/// What a lock is on. By name: it holds for a host that enrols anew, and for a role that is written anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum LockWhat {
    /// A person: activates, approves, decides nothing.
    Person(Name),
    /// A role: nobody activates it.
    Role(Name),
    /// A host: nobody activates anything there, and nobody asks through its door.
    Host(Name),
    /// Everybody and everything but root on the daemon's machine.
    Everything,
}

/// A lock in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockView {
    /// On what.
    pub what: LockWhat,
    /// Since when.
    pub since: Timestamp,
    /// First second in which it holds no longer; none: until it is unlocked.
    pub until: Option<Timestamp>,
    /// Who set it.
    pub by: UntrustedText,
    /// Why.
    pub reason: UntrustedText,
}

/// What a lock did, and what it could not do. Lists are cut at what one answer carries; counts are not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedView {
    /// The lock.
    pub lock: LockView,
    /// Grants that it ended.
    pub ended: Touched,
    /// Requests that it refused for good.
    pub refused: Touched,
    /// Requests that go on waiting and cannot start while it holds.
    pub withheld: Touched,
    /// Active grants of others that the locked person approved. Not ended.
    pub approved: Touched,
    /// Hosts that have not confirmed an end, at most as many as one answer carries.
    pub unconfirmed: Vec<UnconfirmedView>,
    /// How many there are.
    pub unconfirmed_count: u32,
}

/// Some activations, and how many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Touched {
    /// How many.
    pub count: u32,
    /// The first of them.
    pub first: Vec<TouchedView>,
}

/// An activation in a few words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TouchedView {
    /// Its id.
    pub id: ActivationId,
    /// The fewest letters, at least four, that name it in this cluster.
    pub short: String,
    /// Whose.
    pub person: Name,
    /// Of which role.
    pub role: Name,
}

/// A host that has not confirmed an end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnconfirmedView {
    /// The grant's short id.
    pub short: String,
    /// Whose.
    pub person: Name,
    /// The host.
    pub host: Name,
    /// Where it stands there.
    pub state: HostState,
    /// First second in which the right is over there, whatever the host hears.
    pub until: Option<Timestamp>,
}
