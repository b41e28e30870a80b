//! Administration: people, hosts, policy, revocation, the log. On the daemon's own socket, as root.
//!
//! In: [`AdminAsk`] inside [`super::person::Ask::Admin`]. Out: [`AdminOutcome`]. Each use is an event.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::lock::{LockView, LockWhat, LockedView};
use super::view::{ActivationView, HostView, PersonView};
use crate::host_ssh::HostName;
use crate::id::{ActivationId, IdPrefix};
use crate::name::Name;
use crate::secret::Secret;
use crate::ssh::Cas;
use crate::text::UntrustedText;
use crate::time::{Span, Timestamp};

/// What an administrator asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum AdminAsk {
    /// A paste string for a person, to enrol a factor.
    PersonInvite {
        /// Whom.
        person: Name,
        /// How long it is valid; at most 72 h; none: 24 h.
        valid: Option<Span>,
    },
    /// Takes a person's factor and recovery codes away, and makes a paste string as [`AdminAsk::PersonInvite`] does.
    PersonReset {
        /// Whose.
        person: Name,
        /// Said to the log.
        reason: UntrustedText,
    },
    /// A second administrator's word: what waits counts at once.
    PersonConfirm {
        /// Whose.
        person: Name,
        /// `factor`, or the fingerprint of a key.
        what: UntrustedText,
    },
    /// Everybody in the policy.
    PersonList,
    /// A paste string for a host.
    HostInvite {
        /// The host's name.
        name: Name,
        /// Its labels.
        labels: BTreeMap<Name, Name>,
        /// Names beside its own, for its certificates.
        names: Vec<HostName>,
        /// How long it is valid; at most 1 h, which is also the default.
        valid: Option<Span>,
    },
    /// Other labels for an enrolled host; roles that choose hosts by them are looked at again at once.
    HostLabel {
        /// The host.
        name: Name,
        /// Labels that it has from now on.
        set: BTreeMap<Name, Name>,
        /// Keys of labels that it loses.
        remove: Vec<Name>,
    },
    /// Other names for an enrolled host, beside its own: they stand in its certificates.
    HostNames {
        /// The host.
        name: Name,
        /// Names that it has from now on.
        add: Vec<HostName>,
        /// Names that it loses.
        remove: Vec<HostName>,
    },
    /// A second administrator's word: an invitation that is to take the place of a host counts at once.
    HostConfirm {
        /// The host.
        name: Name,
        /// Who invited: what is confirmed is what was looked at.
        by: Name,
    },
    /// Every host that enrolled.
    HostList,
    /// The policy that is in force, every default written out, as TOML.
    PolicyShow,
    /// Reads the files of the policy folder and says what is wrong; nothing changes.
    PolicyCheck,
    /// Reads the files of the policy folder and says what they would change; nothing changes.
    PolicyDiff,
    /// Puts the files of the policy folder in force, all or nothing.
    PolicyReload,
    /// Ends grants before their time.
    Revoke {
        /// Which.
        what: RevokeWhat,
        /// Said to the person and the log.
        reason: UntrustedText,
    },
    /// The keys that sign.
    KeyList,
    /// Another key signs from here on.
    KeyRotate {
        /// What.
        signs: Signs,
        /// How long the key before is believed; none: longer than any grant lasts.
        overlap: Option<Span>,
        /// Of which type a new file is to be; none: of the one that the key before is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key_type: Option<KeyType>,
    },
    /// What a machine without agent needs to believe certificates for people.
    SshExport,
    /// Where events are sent on to, and how far that is.
    SinkList,
    /// Ends what is concerned, and refuses everything of it from now on.
    Lock {
        /// Which.
        what: LockWhat,
        /// For how long; none: until it is unlocked.
        ttl: Option<Span>,
        /// Said to whoever is refused, and to the log.
        reason: UntrustedText,
    },
    /// Lifts every lock on one thing.
    Unlock {
        /// Which.
        what: LockWhat,
        /// Said to the log.
        reason: UntrustedText,
    },
    /// Every lock in force.
    LockList,
    /// Whether the daemon's database is older than what was seen, and nothing is issued therefore.
    RestoreShow,
    /// Goes on with the older database: what it gave ends, and what may have been used since counts no longer.
    RestoreAccept {
        /// Said to the log.
        reason: UntrustedText,
    },
    /// The log from an event on, as [`super::person::Reply::Event`].
    AuditTail {
        /// How many of the latest events first.
        last: u32,
        /// Stay and tell of each new one.
        follow: bool,
    },
}

/// What to revoke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum RevokeWhat {
    /// One grant.
    Grant(IdPrefix),
    /// All of a person.
    Person(Name),
    /// All on a host.
    Host(Name),
    /// All of a role.
    Role(Name),
}

/// What a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signs {
    /// Grants, and everything else that hosts are told.
    Grants,
    /// SSH certificates of people.
    SshUserCa,
    /// SSH certificates of hosts.
    SshHostCa,
}

impl Signs {
    /// As people write it, and as it stands in events.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Grants => "grants",
            Self::SshUserCa => "ssh-user-ca",
            Self::SshHostCa => "ssh-host-ca",
        }
    }
}

/// The types of keys that sign, in the words of ssh-keygen(1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyType {
    /// Ed25519.
    Ed25519,
    /// ECDSA over P-256.
    Ecdsa,
}

/// A key that signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyView {
    /// What it signs.
    pub signs: Signs,
    /// What it does.
    pub state: KeyState,
    /// `SHA256:…`
    pub fingerprint: UntrustedText,
    /// In OpenSSH's form.
    pub key: String,
    /// A file of the keys' folder, or `agent:SOCKET`.
    pub place: String,
    /// When it began to sign; none: it does not yet.
    pub since: Option<Timestamp>,
    /// Set once it was replaced: from when on nothing that it signed is believed.
    pub until: Option<Timestamp>,
    /// Documents that it has yet to sign.
    pub waiting: u64,
    /// Why it cannot be used at the moment.
    pub problem: Option<UntrustedText>,
}

/// What such a key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    /// It is configured, and will sign after a rotation.
    Next,
    /// It signs.
    Signs,
    /// It was replaced, and what it signed before is still believed.
    Replaced,
    /// Nothing that it signed is believed.
    Over,
}

/// A sink of events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SinkView {
    /// `syslog.NAME` or `notify`.
    pub name: String,
    /// Where it sends to.
    pub to: String,
    /// Number of the first event that is not known to have arrived.
    pub next: u64,
    /// Events that are not known to have arrived.
    pub behind: u64,
    /// Since when it fails, if it does.
    pub failing_since: Option<Timestamp>,
    /// The last failure, which may be over.
    pub last_error: Option<(Timestamp, UntrustedText)>,
}

/// A backup of the daemon's database that was laid back, and waits for root's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreView {
    /// Since when nothing is issued.
    pub since: Timestamp,
    /// The first event that is not known; none: it is not known which.
    pub from: Option<u64>,
    /// How many events there had been, where the witness says so.
    pub seen: Option<u64>,
    /// How it is known.
    pub why: UntrustedText,
}

/// What was done.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum AdminOutcome {
    /// The paste string, shown once.
    Paste {
        /// The line.
        line: Secret,
        /// Seconds it is valid.
        valid: Span,
        /// Set where it waits: when it counts by itself, and is valid from then on.
        counts_at: Option<Timestamp>,
    },
    /// People.
    People(Vec<PersonView>),
    /// Hosts.
    Hosts(Vec<HostView>),
    /// A policy as text, and its digest.
    Policy {
        /// TOML, or the report of a check.
        text: String,
        /// `sha256:…` of the files.
        digest: String,
    },
    /// What was revoked.
    Revoked(Vec<ActivationView>),
    /// Sinks of events.
    Sinks(Vec<SinkView>),
    /// What a lock did and could not do.
    Locked(Box<LockedView>),
    /// The locks that were lifted.
    Unlocked(Vec<LockView>),
    /// Locks in force.
    Locks(Vec<LockView>),
    /// What is known of a backup that was laid back; none: nothing of the kind.
    Restore(Option<RestoreView>),
    /// The older database is gone on with.
    Restored {
        /// Grants that ended.
        ended: u32,
        /// Requests that were refused.
        refused: u32,
    },
    /// Grant keys.
    Keys {
        /// Oldest first.
        keys: Vec<KeyView>,
        /// Every key that ever signed, for `ssh-keygen -Y verify -f`.
        signers: String,
    },
    /// What machines without agent are to trust, and what not.
    SshExport(Box<SshExport>),
    /// Nothing more to say.
    Ok,
}

/// What a machine without agent needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SshExport {
    /// Grows with every export that differs.
    pub version: u64,
    /// When this version was made first.
    pub made: Timestamp,
    /// The keys that sign.
    pub user_ca: Cas,
    /// Grants that are over and whose certificates may live still.
    pub revoked: BTreeSet<ActivationId>,
}
