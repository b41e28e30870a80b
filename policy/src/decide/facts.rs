//! What a decision is made from: the request, the factor, the approvals and a denial, as the daemon recorded them.
//!
//! In: rows of the store. Out: plain values; nothing here is believed before `decide` has looked at it.
//! Spec: docs/policy.md "Decisions".

use std::collections::BTreeMap;

use elevate_protocol::digest::Digest;
use elevate_protocol::id::{ActivationId, ClusterId, HostId};
use elevate_protocol::name::Name;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::{Span, Timestamp};

use crate::policy::role_digest::RoleDigest;

/// A host as the daemon knows it from its enrolment, never from the host itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// What it is.
    pub id: HostId,
    /// What it is called.
    pub name: Name,
    /// Its labels.
    pub labels: BTreeMap<Name, Name>,
}

/// A request as it was asked. Its digest is computed from these, never carried beside them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The cluster that decides.
    pub cluster: ClusterId,
    /// Its id.
    pub activation: ActivationId,
    /// Who asks.
    pub person: Name,
    /// For what.
    pub role: Name,
    /// Where; each host once is enough. None for a role that administers Elevate, and only for one.
    pub hosts: Vec<HostFacts>,
    /// How long; none: the role's default.
    pub duration: Option<Span>,
    /// Why.
    pub reason: Option<UntrustedText>,
    /// The change number.
    pub ticket: Option<UntrustedText>,
    /// When it was asked.
    pub asked_at: Timestamp,
}

/// Everything that is known about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The request.
    pub request: Request,
    /// [`crate::role_digest`] when it was asked; tells the person that the role has changed since.
    pub role_digest: RoleDigest,
    /// The latest second factor checked for it.
    pub factor: Option<FactorProof>,
    /// Every approval recorded for it.
    pub approvals: Vec<RecordedApproval>,
    /// A denial recorded for it. It is final.
    pub denial: Option<RecordedDenial>,
}

/// A second factor that the daemon checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactorProof {
    /// When.
    pub checked_at: Timestamp,
    /// The digest of what it was asked for: [`crate::request_digest`] or [`crate::extension_digest`].
    pub bound_to: Digest,
}

/// An approval as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedApproval {
    /// Who gave it.
    pub approver: Name,
    /// When.
    pub at: Timestamp,
    /// [`crate::request_digest`] of what the approver saw.
    pub request: Digest,
    /// [`crate::role_digest`] of what the approver saw.
    pub role: RoleDigest,
}

/// A denial as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedDenial {
    /// Who denied.
    pub by: Name,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: UntrustedText,
}
