//! Signed grants for tests, and a generator of every sudo part that the types allow.
//!
//! In: terms. Out: values made by real signatures of a fixed key.

use std::sync::LazyLock;

use elevate_protocol::digest::Digest;
use elevate_protocol::document::{Act, Document, End, EndCause, Extend, Grant};
use elevate_protocol::id::{ActivationId, ClusterId, HostId};
use elevate_protocol::signed::{GRANT_NAMESPACE, SignedBody, SignedGrant, TrustedKeys};
use elevate_protocol::sudo::SudoPart;
use elevate_protocol::time::{Span, Timestamp};
use proptest::prelude::*;
use ssh_key::{PrivateKey, private::Ed25519Keypair};

use crate::store::documents::Held;

/// 2026-11-21T20:00:00Z.
pub(crate) const NOW: Timestamp = Timestamp(1_795_291_200);

static KEY: LazyLock<PrivateKey> = LazyLock::new(|| PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32])));

pub(crate) fn signers() -> TrustedKeys {
    TrustedKeys::one(KEY.public_key().clone()).unwrap()
}

pub(crate) fn host() -> HostId {
    HostId::from_random([1; 16])
}

/// A grant from [`NOW`] less a minute for an hour.
pub(crate) fn grant(id: u8, uid: u32, sudo: SudoPart) -> Grant {
    Grant {
        id: ActivationId::from_random([id; 16]),
        revision: 1,
        person: "alice".parse().unwrap(),
        login: "alice".parse().unwrap(),
        uid,
        request_digest: Digest::of(b"request"),
        role: "web-ops".parse().unwrap(),
        role_digest: Digest::of(b"role"),
        not_before: NOW.before(Span::MINUTE),
        not_after: NOW.after(Span::HOUR),
        duration: Span::HOUR,
        warn: vec![Span(600), Span(300)],
        sudo: Some(sudo),
        ssh: None,
        factor_at_use: None,
        approvals: vec![],
        lease: None,
        critical: vec!["sudo".into()],
    }
}

pub(crate) fn sign(seq: u64, act: Act) -> SignedBody {
    let cluster = ClusterId::from_random([2; 16]);
    let document = Document { format: 1, cluster, host: host(), epoch: 1, seq, act };
    SignedBody::sign(document.to_line().unwrap(), &KEY, GRANT_NAMESPACE).unwrap()
}

pub(crate) fn held(grant: Grant) -> Held {
    let signed = SignedGrant::new(sign(1, Act::Grant(Box::new(grant))));
    Held::verify(signed, &signers(), &host()).unwrap()
}

pub(crate) fn extended(held: &Held, not_after: Timestamp) -> Held {
    let revision = held.verified.revision().saturating_add(1);
    let extend = Extend { id: held.verified.grant().id, revision, not_after };
    Held::verify(held.signed.clone().with(sign(2, Act::Extend(extend))), &signers(), &host()).unwrap()
}

pub(crate) fn ended(held: &Held) -> Held {
    let revision = held.verified.revision().saturating_add(1);
    let end = End { id: held.verified.grant().id, revision, cause: EndCause::Revoked };
    Held::verify(held.signed.clone().with(sign(2, Act::End(end))), &signers(), &host()).unwrap()
}

pub(crate) fn runs(json: &str) -> SudoPart {
    serde_json::from_str(json).unwrap()
}

/// Every sudo part: any account, commands with and without arguments, with every letter that is allowed, sudoedit, shells.
pub(crate) fn parts() -> impl Strategy<Value = SudoPart> {
    let path = "(/[A-Za-z0-9_@%+-][A-Za-z0-9_@%+.-]{0,8}){1,4}";
    let argument = "[A-Za-z0-9_@%+./=:,-]{1,12}";
    let run_as = "[a-z_][a-z0-9_.-]{0,8}";
    let command = (path, proptest::collection::vec(argument, 0..4));
    let lists = (proptest::collection::vec(command, 0..4), proptest::collection::vec(path, 0..3));
    (run_as, any::<bool>(), lists).prop_map(|(run_as, shell, (commands, files))| {
        let run_as: elevate_protocol::name::Name = run_as.parse().unwrap();
        if shell || (commands.is_empty() && files.is_empty()) {
            return SudoPart::everything(run_as);
        }
        let command =
            |(path, args): (String, Vec<String>)| std::iter::once(path).chain(args).collect::<Vec<_>>();
        let run = commands.into_iter().map(|found| command(found).try_into().unwrap()).collect();
        let edit = files.into_iter().map(|path| path.try_into().unwrap()).collect();
        SudoPart::only(run_as, run, edit).unwrap()
    })
}
