//! Who speaks, and the two ends of a conversation: the interface between the doors and the core.
//!
//! In: what a door proved. Out: [`Conversation`]. Spec: docs/wire.md.

use std::net::IpAddr;

use elevate_protocol::id::HostId;
use elevate_protocol::message::person::{Reply, Say};
use elevate_protocol::name::{Login, Name};
use tokio::sync::mpsc;

/// Who speaks, as a door proved it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Speaker {
    /// Root or the daemon's own account, on the daemon's own socket.
    Root {
        /// From SO_PEERCRED.
        uid: u32,
    },
    /// Door 2: whoever signed with this person's key.
    Person {
        /// The person.
        name: Name,
        /// `SHA256:` fingerprint of the key.
        key: String,
        /// Where from.
        address: IpAddr,
    },
    /// Door 1: whom a host vouched for. Made by `deliver` only.
    OnHost {
        /// The host.
        host: HostId,
        /// The person whose login this is.
        name: Name,
        /// From the kernel of the host.
        uid: u32,
        /// From the NSS of the host.
        login: Login,
    },
}

/// One conversation. Both channels are bounded by whoever makes them; a dropped `say` ends it.
#[derive(Debug)]
pub(crate) struct Conversation {
    /// Who.
    pub(crate) speaker: Speaker,
    /// From the person.
    pub(crate) say: mpsc::Receiver<Say>,
    /// To the person.
    pub(crate) reply: mpsc::Sender<Reply>,
}

/// Who holds an SSH public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holder {
    /// A person of the policy.
    Person(Name),
    /// An enrolled host; the key is its link key.
    Host(HostId),
    /// Nobody: such a key may only enrol.
    Nobody,
}
