//! A host in a folder for the tests of the gate: drop-ins, grants with real signatures, trust. Runs as root, as the gate does.

use std::fs;

use elevate_protocol::digest::Digest;
use elevate_protocol::document::{Act, Document, FORMAT, Grant};
use elevate_protocol::id::ClusterId;
use elevate_protocol::signed::{GRANT_NAMESPACE, SignedBody};
use elevate_protocol::sudo::SudoPart;
use elevate_protocol::time::Span;
use ssh_key::{PrivateKey, private::Ed25519Keypair};

use super::super::*;

pub(super) const UID: u32 = 2000;
/// Milliseconds since the machine booted, at [`NOW`].
pub(super) const BOOT: u64 = 50_000_000;
pub(super) const NOW: Timestamp = Timestamp(4_000_000_000);

pub(super) struct Site {
    pub(super) place: tempfile::TempDir,
    pub(super) paths: Paths,
    pub(super) key: PrivateKey,
}

pub(super) fn id(number: u8) -> ActivationId {
    ActivationId::from_random([number; 16])
}

pub(super) fn host() -> HostId {
    HostId::from_random([1; 16])
}

pub(super) fn grant(number: u8) -> Grant {
    Grant {
        id: id(number),
        revision: 1,
        person: "alice".parse().unwrap(),
        login: "alice".parse().unwrap(),
        uid: UID,
        request_digest: Digest::of(b"request"),
        role: "web-ops".parse().unwrap(),
        role_digest: Digest::of(b"role"),
        not_before: NOW.before(Span::MINUTE),
        not_after: NOW.after(Span::HOUR),
        duration: Span::HOUR,
        warn: vec![],
        sudo: Some(SudoPart::everything("root".parse().unwrap())),
        ssh: None,
        factor_at_use: None,
        approvals: vec![],
        lease: None,
        critical: vec!["sudo".into()],
    }
}

pub(super) fn sign(key: &PrivateKey, host: HostId, act: Act) -> SignedBody {
    let cluster = ClusterId::from_random([7; 16]);
    let document = Document { format: FORMAT, cluster, host, epoch: 1, seq: 1, act };
    SignedBody::sign(document.to_line().unwrap(), key, GRANT_NAMESPACE).unwrap()
}

impl Site {
    /// A host where uid 2000 holds grant 1.
    pub(super) fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "run as root: the gate reads only files of uid 0");
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        let paths = Paths {
            dropins: at("sudoers.d"),
            grants: at("grants"),
            signers: at("grant_signers"),
            config: at("agent.toml"),
            deadlines: at("deadlines.json"),
            offers: at("offers.json"),
            socket: at("agent.sock"),
        };
        let key = PrivateKey::from(Ed25519Keypair::from_seed(&[5; 32]));
        fs::create_dir(&paths.dropins).unwrap();
        fs::create_dir_all(paths.grants.join("u2000")).unwrap();
        fs::write(&paths.signers, TrustedKeys::one(key.public_key().clone()).unwrap().to_signers().unwrap())
            .unwrap();
        fs::write(&paths.config, format!("daemon = \"d:1\"\nhost = \"{}\"\nname = \"web1\"\n", host()))
            .unwrap();
        let site = Self { place, paths, key };
        site.put_grant(1, &SignedGrant::new(sign(&site.key, host(), Act::Grant(Box::new(grant(1))))));
        site.put_deadlines(Some(BOOT), BOOT + 7_200_000);
        site.put_dropin(&format!("# elevate grants {}\n#2000 ALL=(root) NOPASSWD: ALL\n", id(1)));
        site
    }

    pub(super) fn put_grant(&self, number: u8, grant: &SignedGrant) {
        fs::write(self.grant_file(number), grant.to_text()).unwrap();
    }

    /// Deadlines of grants 1 and 2, in milliseconds since the boot.
    pub(super) fn put_deadlines(&self, contact: Option<u64>, ends: u64) {
        let ends = [id(1), id(2)].map(|id| (id, ends)).into();
        let text = serde_json::to_string(&Deadlines { contact, ends }).unwrap();
        fs::write(&self.paths.deadlines, text).unwrap();
    }

    pub(super) fn decide_at_boot(&self, boot: u64) -> Verdict {
        let began = crate::clock::since_1970().saturating_add(Duration::from_secs(1));
        let boot = Duration::from_millis(boot);
        decide(&self.paths, Moment { uid: UID, now: NOW, began, age: Duration::ZERO, boot })
    }

    pub(super) fn put_dropin(&self, text: &str) {
        fs::write(self.dropin(), text).unwrap();
    }

    pub(super) fn grant_file(&self, number: u8) -> std::path::PathBuf {
        self.paths.grants.join(format!("u2000/{}.grant", id(number)))
    }

    pub(super) fn dropin(&self) -> std::path::PathBuf {
        self.paths.dropins.join("u2000")
    }

    pub(super) fn decide(&self) -> Verdict {
        self.decide_at(UID, NOW)
    }

    pub(super) fn decide_at(&self, uid: u32, now: Timestamp) -> Verdict {
        let began = crate::clock::since_1970().saturating_add(Duration::from_secs(1));
        decide(
            &self.paths,
            Moment { uid, now, began, age: Duration::ZERO, boot: Duration::from_millis(BOOT) },
        )
    }

    /// The reason of a closed gate; the drop-in must be gone.
    pub(super) fn closed(&self) -> Closed {
        self.closed_at(NOW)
    }

    pub(super) fn closed_at(&self, now: Timestamp) -> Closed {
        let verdict = self.decide_at(UID, now);
        assert!(self.dropin().symlink_metadata().is_err(), "the drop-in is still there: {verdict:?}");
        match verdict {
            Verdict::Closed(why) => why,
            Verdict::Open(_) | Verdict::Unmanaged | Verdict::Moved => panic!("not closed: {verdict:?}"),
        }
    }
}
