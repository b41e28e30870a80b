//! The digests that factors, approvals and grants are bound to.
//!
//! In: a request, or the ask to extend a grant. Out: a digest over its canonical JSON. Spec: docs/policy.md "Digests".
//! The kind stands first, so that a digest of one thing is never the digest of another.

use std::collections::BTreeSet;

use elevate_protocol::digest::Digest;
use elevate_protocol::id::{ActivationId, ClusterId, HostId};
use elevate_protocol::name::Name;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::{Span, Timestamp};
use serde::Serialize;

use super::facts::Request;

/// Field order is the canonical order; a new field needs a new `kind`.
#[derive(Serialize)]
struct CanonicalRequest<'a> {
    kind: &'static str,
    cluster: ClusterId,
    activation: ActivationId,
    person: &'a Name,
    role: &'a Name,
    hosts: BTreeSet<HostId>,
    duration: Option<Span>,
    reason: &'a Option<UntrustedText>,
    ticket: &'a Option<UntrustedText>,
    asked_at: Timestamp,
}

/// The digest of a request: what a factor is asked for, an approver sees and a grant tells.
///
/// # Errors
/// When serde cannot write a field; no value of these types does that.
pub fn request_digest(request: &Request) -> Result<Digest, serde_json::Error> {
    digest(&CanonicalRequest {
        kind: "elevate-request@v1",
        cluster: request.cluster,
        activation: request.activation,
        person: &request.person,
        role: &request.role,
        hosts: request.hosts.iter().map(|host| host.id).collect(),
        duration: request.duration,
        reason: &request.reason,
        ticket: &request.ticket,
        asked_at: request.asked_at,
    })
}

/// The ask to extend a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExtendAsk {
    /// The cluster that decides.
    pub cluster: ClusterId,
    /// The grant.
    pub activation: ActivationId,
    /// Its end as it is: an answer for one extension is no answer for the next.
    pub not_after: Timestamp,
    /// By how much.
    pub by: Span,
    /// Why.
    pub reason: Option<UntrustedText>,
}

/// The digest of the ask to extend a grant: what its factor is asked for.
///
/// # Errors
/// When serde cannot write a field; no value of these types does that.
pub fn extension_digest(ask: &ExtendAsk) -> Result<Digest, serde_json::Error> {
    digest(&("elevate-extension@v1", ask))
}

fn digest(value: &impl Serialize) -> Result<Digest, serde_json::Error> {
    serde_json::to_vec(value).map(|bytes| Digest::of(&bytes))
}
