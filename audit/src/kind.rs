//! What can happen: one variant each, with a stable code and typed details.
//!
//! In: what hosts claim, from `claim.rs`. Out: [`Kind`]. Free text is [`UntrustedText`], so no event holds a control character (threat
//! I01). A code never changes its meaning; a new meaning is a new code. Spec: docs/events.md.

use std::collections::BTreeMap;

use crate::detail::{Level, LockKind, LockScope, Used};
use elevate_protocol::digest::Digest;
use elevate_protocol::document::EndCause;
use elevate_protocol::host_ssh::HostName;
use elevate_protocol::id::{ActivationId, ClusterId};
use elevate_protocol::message::session::{SshConnection, SshEnd};
use elevate_protocol::name::Name;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};

and_what_hosts_claim! {
    /// A person asked for a role.
    "request.created" Notice RequestCreated {
        hosts: Vec<Name>,
        duration: Span,
        reason: Option<UntrustedText>,
        /// The change number.
        ticket: Option<UntrustedText>,
        /// Digest of the request.
        digest: Digest,
        /// Digest of role and eligibility.
        role_digest: Digest,
        /// When it lapses if nobody decides.
        lapses_at: Timestamp,
        /// The request whose place it takes.
        amends: Option<ActivationId>,
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
    "request.denied" Notice RequestDenied { reason: UntrustedText }
    /// The person took the request back.
    "request.withdrawn" Notice RequestWithdrawn {}
    /// Nobody decided, or the person did not start it, in time.
    "request.lapsed" Notice RequestLapsed {}
    /// The policy refused: at the request, or later when it was to start.
    "request.refused" Warning RequestRefused { why: UntrustedText }
    /// Somebody tried to decide what they may not decide; one's own request too.
    "review.refused" Warning ReviewRefused { why: UntrustedText }
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
    "factor.reused" Warning FactorReused { purpose: UntrustedText }
    /// Wrong codes locked a door, or all.
    "factor.locked" Alert FactorLocked {
        /// Which.
        scope: LockScope,
        until: Timestamp,
    }
    /// The code was right, the host's own PAM stack refused the person.
    "factor.unconfirmed" Warning FactorUnconfirmed { purpose: UntrustedText }
    /// A person enrolled a factor.
    "factor.enrolled" Notice FactorEnrolled {}
    /// A person tried the factor without effect.
    "factor.tested" Info FactorTested {}
    /// A person made a set of recovery codes; an earlier one is worth nothing since.
    "recovery.made" Notice RecoveryMade {}
    /// A recovery code was used.
    "recovery.used" Alert RecoveryUsed {
        /// What for: `lock me`, `enrol`.
        purpose: UntrustedText,
        /// How many are left.
        left: u32,
    }
    /// A factor in the place of another, a key that is new to the person, or an invitation for the place of a host, waits.
    "change.waits" Alert ChangeWaits {
        /// `factor`, `host`, or the key's fingerprint.
        what: UntrustedText,
        /// When it counts, unless an administrator confirms it before or the person is locked.
        counts_at: Timestamp,
    }
    /// What waited counts.
    "change.counts" Notice ChangeCounts {
        /// `factor`, `host`, or the key's fingerprint.
        what: UntrustedText,
        /// `confirmed` by a second administrator, or `waited`.
        how: UntrustedText,
    }
    /// What waited will not count.
    "change.withdrawn" Notice ChangeWithdrawn {
        /// `factor`, `host`, or the key's fingerprint.
        what: UntrustedText,
    }
    /// An administrator took a person's factor and recovery codes away.
    "factor.reset" Alert FactorReset { reason: UntrustedText }
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
        reason: Option<UntrustedText>,
    }
    /// A grant is over, on all its hosts.
    "grant.ended" Notice GrantEnded {
        cause: EndCause,
        /// Its hosts.
        hosts: Vec<Name>,
        /// Said with a revocation.
        reason: Option<UntrustedText>,
    }
    /// The host acknowledged a document: it is in force there.
    "grant.confirmed" Info GrantConfirmed { place: u64 }
    /// The host does not enforce a document.
    "grant.refused-by-host" Warning GrantRefusedByHost {
        /// Place in the host's log.
        place: u64,
        why: UntrustedText,
    }
    /// A person, a role, a host or everything was locked.
    "lock.set" Alert LockSet {
        /// What kind of thing.
        what: LockKind,
        /// First second in which it holds no longer; none: until it is unlocked.
        until: Option<Timestamp>,
        reason: UntrustedText,
        /// Grants that it ended.
        ended: u32,
        /// Requests that it refused.
        refused: u32,
    }
    /// A lock was lifted.
    "lock.lifted" Notice LockLifted {
        /// What kind of thing.
        what: LockKind,
        reason: UntrustedText,
    }
    /// The time of a lock was over.
    "lock.expired" Notice LockExpired { what: LockKind }
    /// Something was asked that a lock refuses.
    "lock.refused" Warning LockRefused {
        /// What was asked.
        ask: UntrustedText,
        /// By which lock.
        why: UntrustedText,
    }
    /// Another key signs from here on.
    "key.rotated" Alert KeyRotated {
        /// What it signs: `grants`, `ssh-user-ca`.
        signs: UntrustedText,
        from: UntrustedText, to: UntrustedText, until: Timestamp, hosts: u64,
    }
    /// A replaced key for SSH certificates is over: hosts are told to trust it no more.
    "key.over" Notice KeyOver { key: UntrustedText, hosts: u64 }
    /// The host trusts the new keys from this document on.
    "key.trusted" Info KeyTrusted { place: u64 }
    /// The host does not take over the new keys: it will obey nothing.
    "key.refused-by-host" Alert KeyRefusedByHost { place: u64, why: UntrustedText }
    /// The agent that holds the grant key does not sign: nothing starts, and ends before their time wait.
    "key.away" Alert KeyAway { why: UntrustedText }
    /// The agent that holds the grant key signs again.
    "key.back" Notice KeyBack {}
    /// A certificate for SSH was signed under a grant.
    "ssh.certificate" Notice SshCertificate {
        serial: u64, fingerprint: UntrustedText, principals: Vec<UntrustedText>, valid_after: Timestamp, valid_before: Timestamp,
    }
    /// A certificate was signed for a key of a host's sshd.
    "host.certificate" Notice HostCertificate {
        serial: u64, fingerprint: UntrustedText, names: Vec<HostName>, valid_after: Timestamp, valid_before: Timestamp,
    }
    /// A host was invited to enrol.
    "host.invited" Notice HostInvited {
        /// Its labels.
        labels: BTreeMap<Name, Name>,
        /// Names beside its own.
        names: Vec<HostName>,
        valid_until: Timestamp,
    }
    /// A host enrolled.
    "host.enrolled" Notice HostEnrolled {
        /// Its labels.
        labels: BTreeMap<Name, Name>,
        /// Names beside its own.
        names: Vec<HostName>,
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
    /// A host has other names beside its own.
    "host.named" Notice HostNamed {
        /// All of them.
        names: Vec<HostName>,
    }
    /// An enrolment was refused.
    "host.enrol-refused" Warning HostEnrolRefused { why: UntrustedText }
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
    "host.refused" Warning HostRefused { why: UntrustedText }
    /// A host's agent is gone, or silent for too long.
    "host.lost" Warning HostLost { why: UntrustedText }
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
    /// A host has applied another log than the daemon has: one of both was restored from a backup. Its log begins anew, and waits for
    /// the word of the host's root; what was active there is over.
    "host.epoch" Alert HostEpoch {
        /// The epoch that waits.
        epoch: u32,
        /// The host's.
        before: u32,
        /// Place of the last document that it has applied.
        place: u64,
    }
    /// A connected host has not told of the end of a grant in time: nobody knows whether its rights are gone there.
    "host.end-missing" Alert HostEndMissing {}
    /// A policy came into force.
    "policy.loaded" Notice PolicyLoaded {
        /// Of the files.
        digest: Digest,
        /// How many warnings it has.
        warnings: u32,
    }
    /// A policy was refused; the one before stays in force.
    "policy.refused" Warning PolicyRefused { why: UntrustedText }
    /// A person was invited to enrol a factor.
    "person.invited" Notice PersonInvited { valid_until: Timestamp }
    /// Administration: by root through the daemon's own socket, or by a person under a live grant.
    "admin.used" Notice AdminUsed { ask: UntrustedText }
    /// A sink has taken nothing for a minute. Its events wait in the log.
    "sink.lost" Warning SinkLost {
        /// Which: `syslog.NAME`, `notify`.
        sink: UntrustedText,
        /// The first event that it did not get.
        next: u64,
        why: UntrustedText,
    }
    /// A sink that was lost takes events again.
    "sink.back" Notice SinkBack {
        /// Which.
        sink: UntrustedText,
        /// The first event that it did not get yet.
        next: u64,
    }
    /// Somebody tried to administer what they may not, or themself.
    "admin.refused" Warning AdminRefused {
        /// What was asked.
        ask: UntrustedText,
        why: UntrustedText,
    }
    /// A grant to administer began; no host hears of it.
    "admin.granted" Notice AdminGranted {
        parts: Vec<UntrustedText>,
        /// First second that is too late.
        not_after: Timestamp,
        approvers: Vec<Name>,
    }
    /// A grant to administer lasts longer.
    "admin.extended" Notice AdminExtended {
        /// The new first second that is too late.
        not_after: Timestamp,
    }
    /// The database is older than what was seen: a backup was laid back. Nothing is issued until root accepts it.
    "restore.found" Alert RestoreFound {
        /// The first event that is not known; none: it is not known which.
        from: Option<u64>,
        /// How many events there had been, where the witness says so.
        seen: Option<u64>,
        why: UntrustedText,
    }
    /// Root went on with the older database: what it gave, and what may have been used since, counts no longer.
    "restore.accepted" Alert RestoreAccepted {
        /// The first event that is not known; none: it is not known which.
        from: Option<u64>,
        reason: UntrustedText,
        /// Grants that ended with it.
        ended: u32,
        /// Requests that were refused with it.
        refused: u32,
    }
    /// The daemon's disk is full: nothing new begins.
    "store.full" Alert StoreFull { why: UntrustedText }
    /// There is room on the daemon's disk again.
    "store.room" Notice StoreRoom {}
    /// The daemon started.
    "daemon.started" Notice DaemonStarted { version: UntrustedText, cluster: ClusterId, epoch: u32 }
    /// The same thing came again and had no second effect.
    "duplicate" Info Duplicate { what: UntrustedText }
}
