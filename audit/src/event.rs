//! One event: when, who, about what, through which door, and what happened.
//!
//! In: typed values. Out: [`Event`], an entry of the log. Spec: docs/events.md.

use elevate_protocol::id::{ActivationId, HostId};
use elevate_protocol::name::Name;
use elevate_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

use crate::kind::Kind;

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Place in the log, from 0, without gaps.
    pub seq: u64,
    /// When it was recorded, by the daemon's clock.
    pub at: Timestamp,
    /// Who did it.
    pub actor: Actor,
    /// Whom and what it is about.
    #[serde(flatten)]
    pub subject: Subject,
    /// How the actor spoke to the daemon; none: nobody spoke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub door: Option<Door>,
    /// What happened.
    #[serde(flatten)]
    pub kind: Kind,
}

/// Who did something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Actor {
    /// The daemon itself: a timer, a start, a reload.
    Daemon,
    /// A person, known by a key or by a host's vouch.
    Person(Name),
    /// A host. What only a host says is a claim: its root can invent or withhold it.
    Host(Name),
    /// An account on the daemon's own machine, by uid.
    Root(u32),
    /// Somebody who proved nothing, by address.
    Unknown(IpAddr),
}

/// Whom and what an event is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<Name>,
    /// The host's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Name>,
    /// The host's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_id: Option<HostId>,
    /// The role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Name>,
    /// The request or grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<ActivationId>,
}

/// How somebody spoke to the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Door {
    /// Door 1: through the agent of this host, from this uid.
    Host {
        /// The host.
        name: Name,
        /// The kernel's word on the host.
        uid: u32,
    },
    /// Door 2: with a key, from an address.
    Key {
        /// `SHA256:` fingerprint.
        fingerprint: String,
        /// Where from.
        address: IpAddr,
    },
    /// The daemon's own socket.
    Local,
}
