//! What can happen: one variant each, with a stable code and typed details.
//!
//! In: nothing. Out: [`Kind`]. Free text is [`UntrustedText`], so no event holds a control character (threat I01).
//! A code never changes its meaning; a new meaning is a new code. Spec: docs/events.md.

use std::collections::BTreeMap;

use elevate_protocol::digest::Digest;
use elevate_protocol::document::EndCause;
use elevate_protocol::id::{ActivationId, ClusterId};
use elevate_protocol::name::Name;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};

use crate::detail::{Level, LockKind, LockScope, Used};

macro_rules! kinds {
    ($( $(#[doc = $doc:literal])* $code:literal $level:ident $variant:ident { $( $(#[doc = $fdoc:literal])* $field:ident : $type:ty ),* $(,)? } )*) => {
        /// What happened, with its details.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(tag = "code", content = "details")]
        pub enum Kind {
            $(
                $(#[doc = $doc])*
                #[serde(rename = $code)]
                $variant { $( $(#[doc = $fdoc])* $field: $type ),* },
            )*
        }

        impl Kind {
            /// Every code there is.
            pub const CODES: &'static [&'static str] = &[$($code),*];

            /// The stable code: `grant.issued`.
            #[must_use]
            pub fn code(&self) -> &'static str {
                match self { $( Self::$variant { .. } => $code, )* }
            }

            /// How loud it is in syslog.
            #[must_use]
            pub fn level(&self) -> Level {
                match self { $( Self::$variant { .. } => Level::$level, )* }
            }
        }
    };
}

kinds! {
    /// A person asked for a role.
    "request.created" Notice RequestCreated {
        /// Hosts.
        hosts: Vec<Name>,
        /// How long.
        duration: Span,
        /// Why.
        reason: Option<UntrustedText>,
        /// The change number.
        ticket: Option<UntrustedText>,
        /// Digest of the request.
        digest: Digest,
        /// Digest of role and eligibility.
        role_digest: Digest,
        /// When it lapses if nobody decides.
        lapses_at: Timestamp,
    }
    /// An approver said yes.
    "request.approved" Notice RequestApproved {
        /// Said with it.
        reason: Option<UntrustedText>,
        /// The request that it is bound to.
        digest: Digest,
        /// The role and eligibility that it is bound to.
        role_digest: Digest,
    }
    /// An approver said no.
    "request.denied" Notice RequestDenied {
        /// Said with it.
        reason: UntrustedText,
    }
    /// The person took the request back.
    "request.withdrawn" Notice RequestWithdrawn {}
    /// Nobody decided, or the person did not start it, in time.
    "request.lapsed" Notice RequestLapsed {}
    /// The policy refused: at the request, or later when it was to start.
    "request.refused" Warning RequestRefused {
        /// Why.
        why: UntrustedText,
    }
    /// Somebody tried to decide what they may not decide; one's own request too.
    "review.refused" Warning ReviewRefused {
        /// Why.
        why: UntrustedText,
    }
    /// The second factor was right.
    "factor.accepted" Info FactorAccepted {
        /// What for: `request`, `start`, `approve`, `deny`, `extend`.
        purpose: UntrustedText,
    }
    /// The second factor was wrong.
    "factor.rejected" Warning FactorRejected {
        /// What for.
        purpose: UntrustedText,
        /// Wrong codes at this door since the last right one.
        failures: u32,
        /// Before when no code is looked at.
        next_at: Option<Timestamp>,
    }
    /// A code that was right and had been used. Not counted as wrong.
    "factor.reused" Warning FactorReused {
        /// What for.
        purpose: UntrustedText,
    }
    /// Wrong codes locked a door, or all.
    "factor.locked" Alert FactorLocked {
        /// Which.
        scope: LockScope,
        /// Until when.
        until: Timestamp,
    }
    /// The code was right, the host's own PAM stack refused the person.
    "factor.unconfirmed" Warning FactorUnconfirmed {
        /// What for.
        purpose: UntrustedText,
    }
    /// A person enrolled a factor.
    "factor.enrolled" Notice FactorEnrolled {}
    /// A person tried the factor without effect.
    "factor.tested" Info FactorTested {}
    /// A signed grant for one host was recorded, before it was sent.
    "grant.issued" Notice GrantIssued {
        /// Place in the host's log.
        place: u64,
        /// The account on the host.
        uid: u32,
        /// First second.
        not_before: Timestamp,
        /// First second that is too late.
        not_after: Timestamp,
        /// Digest of the document's bytes.
        document: Digest,
        /// Who approved.
        approvers: Vec<Name>,
    }
    /// A signed extension for one host was recorded.
    "grant.extended" Notice GrantExtended {
        /// Place in the host's log.
        place: u64,
        /// The new first second that is too late.
        not_after: Timestamp,
        /// Digest of the document's bytes.
        document: Digest,
        /// Why.
        reason: Option<UntrustedText>,
    }
    /// A grant is over, on all its hosts.
    "grant.ended" Notice GrantEnded {
        /// Why.
        cause: EndCause,
        /// Its hosts.
        hosts: Vec<Name>,
        /// Said with a revocation.
        reason: Option<UntrustedText>,
    }
    /// The host acknowledged a document: it is in force there.
    "grant.confirmed" Info GrantConfirmed {
        /// Place in the host's log.
        place: u64,
    }
    /// The host does not enforce a document.
    "grant.refused-by-host" Warning GrantRefusedByHost {
        /// Place in the host's log.
        place: u64,
        /// Why.
        why: UntrustedText,
    }
    /// A person, a role, a host or everything was locked.
    "lock.set" Alert LockSet {
        /// What kind of thing.
        what: LockKind,
        /// First second in which it holds no longer; none: until it is unlocked.
        until: Option<Timestamp>,
        /// Why.
        reason: UntrustedText,
        /// Grants that it ended.
        ended: u32,
        /// Requests that it refused.
        refused: u32,
        /// Requests that cannot start while it holds.
        withheld: u32,
    }
    /// A lock was lifted.
    "lock.lifted" Notice LockLifted {
        /// What kind of thing.
        what: LockKind,
        /// Why.
        reason: UntrustedText,
    }
    /// The time of a lock was over.
    "lock.expired" Notice LockExpired {
        /// What kind of thing.
        what: LockKind,
    }
    /// Something was asked that a lock refuses.
    "lock.refused" Warning LockRefused {
        /// What was asked.
        ask: UntrustedText,
        /// By which lock.
        why: UntrustedText,
    }
    /// A host was invited to enrol.
    "host.invited" Notice HostInvited {
        /// Its labels.
        labels: BTreeMap<Name, Name>,
        /// Until when.
        valid_until: Timestamp,
    }
    /// A host enrolled.
    "host.enrolled" Notice HostEnrolled {
        /// Its labels.
        labels: BTreeMap<Name, Name>,
        /// Fingerprint of its link key.
        link_key: UntrustedText,
        /// Fingerprint of its vouch key.
        vouch_key: UntrustedText,
    }
    /// A host has other labels.
    "host.labelled" Notice HostLabelled {
        /// All that it has now.
        labels: BTreeMap<Name, Name>,
    }
    /// An enrolment was refused.
    "host.enrol-refused" Warning HostEnrolRefused {
        /// Why.
        why: UntrustedText,
    }
    /// A host's agent connected.
    "host.connected" Info HostConnected {
        /// The agent's version.
        agent: UntrustedText,
        /// Which sudo enforces there.
        sudo: Option<UntrustedText>,
        /// Place of the last applied document.
        place: u64,
    }
    /// Another sudo enforces on a host than before, or none any more.
    "host.sudo" Notice HostSudo {
        /// Which.
        sudo: Option<UntrustedText>,
        /// What it is not trusted with, or why nothing is enforced.
        why: Option<UntrustedText>,
    }
    /// A host's agent said something that cannot be, and was cut off.
    "host.refused" Warning HostRefused {
        /// What.
        why: UntrustedText,
    }
    /// A host's agent is gone, or silent for too long.
    "host.lost" Warning HostLost {
        /// Why.
        why: UntrustedText,
    }
    /// A host's connections came and went so often in a minute that only the first were recorded one by one.
    "host.flooded" Warning HostFlooded {
        /// From when on they were counted.
        since: Timestamp,
        /// Connections that were not recorded.
        connected: u64,
        /// Ends of connections that were not recorded.
        lost: u64,
        /// Refusals that were not recorded.
        refused: u64,
    }
    /// Host and daemon do not agree on the time.
    "host.clock-skew" Warning HostClockSkew {
        /// The host's clock.
        host_time: Timestamp,
    }
    /// The host claims that a right was used.
    "host.used" Notice HostUsed {
        /// Counts up over the host's life.
        number: u64,
        /// By the host's clock.
        host_time: Timestamp,
        /// Every grant that the person had then.
        grants: Vec<ActivationId>,
        /// How.
        used: Used,
    }
    /// The host claims that a person was warned of a near end.
    "host.warned" Info HostWarned {
        /// Counts up over the host's life.
        number: u64,
        /// By the host's clock.
        host_time: Timestamp,
        /// Time left.
        left: Span,
    }
    /// The host claims that a grant's rights were removed.
    "host.ended" Notice HostEnded {
        /// Counts up over the host's life.
        number: u64,
        /// By the host's clock.
        host_time: Timestamp,
        /// Why.
        cause: EndCause,
    }
    /// The host claims that its PAM gate closed.
    "host.gate-closed" Warning HostGateClosed {
        /// Counts up over the host's life.
        number: u64,
        /// By the host's clock.
        host_time: Timestamp,
        /// Whose drop-in.
        uid: u32,
        /// Why.
        why: UntrustedText,
    }
    /// The host claims that a use was refused for want of the second factor.
    "host.use-refused" Warning HostUseRefused {
        /// Counts up over the host's life.
        number: u64,
        /// By the host's clock.
        host_time: Timestamp,
        /// Every grant that the person had then.
        grants: Vec<ActivationId>,
        /// Whose.
        uid: u32,
        /// Why.
        why: UntrustedText,
    }
    /// The host claims that something was not as it should be.
    "host.tampered" Alert HostTampered {
        /// Counts up over the host's life.
        number: u64,
        /// By the host's clock.
        host_time: Timestamp,
        /// What, and what was done.
        what: UntrustedText,
    }
    /// The host claims that its agent started.
    "host.started" Info HostStarted {
        /// Counts up over the host's life.
        number: u64,
        /// By the host's clock.
        host_time: Timestamp,
        /// The agent's version.
        agent: UntrustedText,
        /// Grants in force after the start.
        grants: u32,
    }
    /// A policy came into force.
    "policy.loaded" Notice PolicyLoaded {
        /// Of the files.
        digest: Digest,
        /// How many warnings it has.
        warnings: u32,
    }
    /// A policy was refused; the one before stays in force.
    "policy.refused" Warning PolicyRefused {
        /// The first finding.
        why: UntrustedText,
    }
    /// A person was invited to enrol a factor.
    "person.invited" Notice PersonInvited {
        /// Until when.
        valid_until: Timestamp,
    }
    /// Administration through the daemon's own socket.
    "admin.used" Notice AdminUsed {
        /// What was asked.
        ask: UntrustedText,
    }
    /// A sink has taken nothing for a minute. Its events wait in the log.
    "sink.lost" Warning SinkLost {
        /// Which: `syslog.NAME`, `notify`.
        sink: UntrustedText,
        /// The first event that it did not get.
        next: u64,
        /// Why.
        why: UntrustedText,
    }
    /// A sink that was lost takes events again.
    "sink.back" Notice SinkBack {
        /// Which.
        sink: UntrustedText,
        /// The first event that it did not get yet.
        next: u64,
    }
    /// The daemon started.
    "daemon.started" Notice DaemonStarted {
        /// Its version.
        version: UntrustedText,
        /// The cluster.
        cluster: ClusterId,
        /// The epoch.
        epoch: u32,
    }
    /// The same thing came again and had no second effect.
    "duplicate" Info Duplicate {
        /// What.
        what: UntrustedText,
    }
}
