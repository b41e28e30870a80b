//! What every run starts from: people with keys and a factor, one enrolled host, one right whose end has passed.
//!
//! In: nothing. Out: [`Template`], a stopped daemon's folder and the secrets that go with it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use elevate_protocol::frame;
use elevate_protocol::message::Versions;
use elevate_protocol::message::admin::{AdminAsk, AdminOutcome};
use elevate_protocol::message::enrol::{EnrolAsk, EnrolReply};
use elevate_protocol::message::person::{Ask, Outcome, RequestAsk};
use elevate_protocol::paste::Paste;
use elevate_protocol::secret::Secret;
use elevate_protocol::signed::{SignedBody, TrustedKeys, VOUCH_NAMESPACE};
use elevate_protocol::time::{Span, Timestamp};
use ssh_key::{PrivateKey, private::Ed25519Keypair};
use totp_rs::Totp;

use super::peer::{Identity, Log, Peer};
use super::talk::{Lost, Place, Ssh, admin, enrol_factor, person};
use super::vault::{Vault, comes, now};
use crate::strace::Plan;

const POLICY: &str = r#"
[people]
alice = { keys = ["{alice}"] }
bob   = { keys = ["{bob}"] }

[roles.web-ops]
title    = "Run the web tier"
who      = ["alice"]
hosts    = { tier = "web" }
sudo     = { as = "root", run = [["/usr/bin/id", "-u"]] }
duration = "10m"
max      = "1h"
mfa      = "none"
approve  = [{ need = 1, of = ["bob"], within = "1h" }]

[roles.web-quick]
title    = "Look at the web tier"
who      = ["alice"]
hosts    = { tier = "web" }
sudo     = { as = "root", run = [["/usr/bin/id"]] }
duration = "10m"
max      = "1h"
mfa      = "none"
"#;

/// Seconds of a TOTP step.
const STEP: i64 = 30;

/// An authenticator app: the steps that it has shown are not shown again.
#[derive(Debug, Clone)]
pub(crate) struct App {
    totp: Totp,
    used: i64,
}

impl App {
    /// The code of the earliest step that the daemon takes and that was not used. Waits for the clock when there is none.
    pub(crate) fn code(&mut self) -> String {
        let mut step = 0;
        let soon = comes(|| {
            let at = now().0 / STEP;
            // The step before this one is taken too, but not for long; the first code of all leaves those after it for the runs.
            let earliest = if self.used == 0 { at - 1 } else { at };
            step = (self.used + 1).max(earliest);
            step <= at + 1
        });
        assert!(soon, "the clock stands still");
        self.used = step;
        self.totp.generate(u64::try_from(step * STEP).unwrap()).to_string()
    }
}

/// What every run starts from.
pub(crate) struct Template {
    pub(crate) vault: Vault,
    pub(crate) alice: PathBuf,
    pub(crate) bob: PathBuf,
    pub(crate) link: PathBuf,
    pub(crate) host: Identity,
    pub(crate) app: App,
    /// What the host has applied.
    pub(crate) log: Log,
    /// Whether the daemon's folder is an older one than that.
    pub(crate) laid_back: bool,
}

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

fn line(key: &PrivateKey) -> String {
    key.public_key().to_openssh().unwrap()
}

fn token(vault: &Vault, ask: AdminAsk) -> Secret {
    match admin(&vault.socket(), ask) {
        Ok(AdminOutcome::Paste { line, .. }) => line.expose().parse::<Paste>().unwrap().token.unwrap(),
        other => panic!("{other:?}"),
    }
}

fn enrol_host(vault: &Vault, place: Place, (link, vouch): (&PrivateKey, PrivateKey)) -> Identity {
    let labels = BTreeMap::from([("tier".parse().unwrap(), "web".parse().unwrap())]);
    let token = token(
        vault,
        AdminAsk::HostInvite { name: "web1".parse().unwrap(), labels, names: vec![], valid: None },
    );
    let proof = SignedBody::sign(token.expose().to_owned(), &vouch, VOUCH_NAMESPACE).unwrap();
    let ask = EnrolAsk {
        versions: Versions::OURS,
        token,
        link_key: line(link),
        vouch_key: line(&vouch),
        vouch_proof: proof.signature,
    };
    let mut ssh = Ssh::open(&place, "elevate-enroll", "elevate-enroll");
    frame::write(&mut ssh.input, &ask).unwrap();
    let enrolled = match frame::read::<EnrolReply>(&mut ssh.output).unwrap() {
        Some(EnrolReply::Enrolled(enrolled)) => enrolled,
        other => panic!("{other:?}"),
    };
    let signers = TrustedKeys::from_signers(&enrolled.grant_signers).unwrap();
    let accounts = BTreeMap::from([("alice".to_owned(), 2000), ("bob".to_owned(), 2001)]);
    Identity { host: enrolled.host, cluster: enrolled.cluster, place, vouch, signers, accounts }
}

/// A right of so many seconds; the end that it had, and the log of the host with it.
fn right(alice: &Place, host: &Identity, seconds: u32) -> (Timestamp, Log) {
    let peer = Peer::start(host.clone(), Log::of(1));
    let mut given = None;
    let asked = comes(|| {
        let ask = RequestAsk {
            role: "web-quick".parse().unwrap(),
            hosts: vec!["web1".parse().unwrap()],
            duration: Some(Span(seconds)),
            reason: Some(elevate_protocol::text::UntrustedText::lossy("a short look")),
            ticket: None,
            wait: false,
            dry_run: false,
            amends: None,
        };
        // Refused until the host has said which accounts it has.
        match person(alice, "alice", Ask::Request(ask), None) {
            Ok(Outcome::Activation(view)) => given = view.ends_at.map(|end| (view.id, end)),
            Err(Lost::Refused(_)) => {}
            other => panic!("{other:?}"),
        }
        given.is_some()
    });
    assert!(asked, "no right was given");
    let (id, end) = given.unwrap();
    assert!(comes(|| peer.seen().holds(id)), "it did not come to its host");
    let log = peer.seen().log.clone();
    (end, log)
}

impl Template {
    /// Makes it.
    pub(crate) fn new() -> Self {
        let (alice, bob, link) = (key(1), key(2), key(3));
        let policy = POLICY.replace("{alice}", &line(&alice)).replace("{bob}", &line(&bob));
        let mut vault = Vault::init(&policy);
        let (alice, bob) = (vault.key_file("alice", &alice), vault.key_file("bob", &bob));
        let link_file = vault.key_file("link", &link);
        assert!(vault.start(&Plan::Leave), "{}", vault.said());
        let place = |key: &PathBuf| Place { address: vault.address.clone(), key: key.clone() };
        let invitation =
            token(&vault, AdminAsk::PersonInvite { person: "bob".parse().unwrap(), valid: None });
        let mut app = None;
        enrol_factor(&place(&bob), "bob", invitation, |uri| {
            let mut fresh = App { totp: Totp::from_url(uri).unwrap(), used: 0 };
            let code = fresh.code();
            app = Some(fresh);
            code
        });
        let host = enrol_host(&vault, place(&link_file), (&link, key(4)));
        let (end, _) = right(&place(&alice), &host, 2);
        vault.kill();
        // The first thing that every run has to do is to end it.
        assert!(comes(|| now() > end));
        Self {
            vault,
            alice,
            bob,
            link: link_file,
            host,
            app: app.unwrap(),
            log: Log::of(1),
            laid_back: false,
        }
    }

    /// The same, laid back: a right was given that it does not know, which its witness and the host's log tell.
    pub(crate) fn laid_back() -> Self {
        let mut template = Self::new();
        let mut newer = template.vault.copy(false);
        assert!(newer.start(&Plan::Leave), "{}", newer.said());
        let place = |key: &PathBuf| Place { address: newer.address.clone(), key: key.clone() };
        let host = Identity { place: place(&template.link), ..template.host.clone() };
        (_, template.log) = right(&place(&template.alice), &host, 600);
        newer.kill();
        std::fs::copy(newer.path("lib/witness"), template.vault.path("lib/witness")).unwrap();
        Self { laid_back: true, ..template }
    }
}
