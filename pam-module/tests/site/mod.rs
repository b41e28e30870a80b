//! A host in a folder: PAM services with our lines, sudoers, trust, and grants for `nobody`.
//!
//! In: the .so that cargo built. Out: [`Site`], in which sudo and pamtester run. Runs as: root (mounts); the real /etc is not touched.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use elevate_protocol::deadlines::Deadlines;
use elevate_protocol::digest::Digest;
use elevate_protocol::document::{Act, Document, FORMAT, Grant};
use elevate_protocol::id::{ActivationId, ClusterId, HostId};
use elevate_protocol::message::pam::PAM_FD;
use elevate_protocol::signed::{GRANT_NAMESPACE, SignedBody, SignedGrant, TrustedKeys};
use elevate_protocol::sudo::SudoPart;
use elevate_protocol::time::{Span, Timestamp};
use ssh_key::{PrivateKey, private::Ed25519Keypair};

/// `nobody`, who exists everywhere and has no rights.
pub(crate) const UID: u32 = 65534;

/// Lays the directories of `$SITE` over the system's, then runs `$SITE/do`. Everything is gone with the namespace.
const INSIDE: &str = r#"
set -e
mount --make-rprivate /
mkdir -p "$SITE/over" "$SITE/run"
mount -t tmpfs none "$SITE/over"
mkdir "$SITE/over/up" "$SITE/over/work"
mount -t overlay none -o "lowerdir=/etc,upperdir=$SITE/over/up,workdir=$SITE/over/work" /etc
mount --bind "$SITE/etc/pam.d" /etc/pam.d
mount --bind "$SITE/etc/sudoers.d" /etc/sudoers.d
cp -a "$SITE/etc/elevate" /etc/elevate
mount --bind "$SITE/run" /run
. "$SITE/do"
"#;

pub(crate) fn so() -> PathBuf {
    let deps = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let so = deps.join("libpam_elevate.so");
    assert!(so.exists(), "cargo builds {} with this test", so.display());
    so
}

pub(crate) fn now() -> Timestamp {
    Timestamp(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap())
}

/// Gone with this value.
pub(crate) struct Site {
    place: tempfile::TempDir,
    key: PrivateKey,
}

impl Site {
    pub(crate) fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "run as root: this test mounts and runs sudo");
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let site = Self { place, key: PrivateKey::from(Ed25519Keypair::from_seed(&[5; 32])) };
        let copied =
            Command::new("cp").args(["-a", "/etc/pam.d", "/etc/sudoers.d"]).arg(site.dir("etc")).status();
        assert!(copied.unwrap().success());
        let so = so();
        for service in ["sudo", "sudo-i"] {
            let path = site.at(&format!("etc/pam.d/{service}"));
            let so = so.display();
            let ours = format!(
                "#%PAM-1.0\nauth [default=ignore module_unknown=ignore] {so}\n\
                 account [success=ok ignore=ignore module_unknown=ignore default=die] {so}\n\
                 session [default=ignore module_unknown=ignore] {so}\n"
            );
            let before = fs::read_to_string(&path).unwrap();
            fs::write(&path, ours + before.trim_start_matches("#%PAM-1.0\n")).unwrap();
        }
        site.file("etc/sudoers.d/zz-elevate", "@includedir /run/elevate/sudoers.d\n", 0o440);
        site.file("etc/sudoers.d/ordinary", "nobody ALL=(root) NOPASSWD: /usr/bin/true\n", 0o440);
        let signers = TrustedKeys::one(site.key.public_key().clone()).unwrap().to_signers().unwrap();
        site.file("etc/elevate/trust/grant_signers", &signers, 0o644);
        site.file("etc/elevate/agent.toml", &format!("host = \"{}\"\n", host()), 0o644);
        site.dir("run/elevate/sudoers.d");
        site
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        let path = self.at(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    pub(crate) fn file(&self, name: &str, text: &str, mode: u32) {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A grant of `/usr/bin/id -u` as root to nobody, and its drop-in.
    pub(crate) fn grant(&self, not_after: Timestamp) {
        let id = ActivationId::from_random([3; 16]);
        let command = vec!["/usr/bin/id".to_owned(), "-u".to_owned()].try_into().unwrap();
        let grant = Grant {
            id,
            revision: 1,
            person: "nobody".parse().unwrap(),
            login: "nobody".parse().unwrap(),
            uid: UID,
            request_digest: Digest::of(b""),
            role: "web-ops".parse().unwrap(),
            role_digest: Digest::of(b""),
            not_before: not_after.before(Span(7200)),
            not_after,
            duration: Span::HOUR,
            warn: vec![],
            sudo: Some(SudoPart::only("root".parse().unwrap(), vec![command], vec![]).unwrap()),
            ssh: None,
            factor_at_use: None,
            approvals: vec![],
            lease: None,
            critical: vec!["sudo".into()],
        };
        let cluster = ClusterId::from_random([7; 16]);
        let document = Document {
            format: FORMAT,
            cluster,
            host: host(),
            epoch: 1,
            seq: 1,
            act: Act::Grant(Box::new(grant)),
        };
        let signed = SignedBody::sign(document.to_line().unwrap(), &self.key, GRANT_NAMESPACE).unwrap();
        self.file(
            &format!("run/elevate/grants/u{UID}/{id}.grant"),
            &SignedGrant::new(signed).to_text(),
            0o400,
        );
        let ends = u64::try_from(not_after.0.saturating_sub(now().0).max(0)).unwrap().saturating_mul(1000);
        let boot = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).unwrap();
        let boot = u64::try_from(boot.tv_sec()).unwrap().saturating_mul(1000);
        let deadlines = Deadlines { contact: None, ends: [(id, boot.saturating_add(ends))].into() };
        self.file("run/elevate/deadlines.json", &serde_json::to_string(&deadlines).unwrap(), 0o600);
        let dropin = format!("# elevate grants {id}\n#{UID} ALL=(root) NOPASSWD: /usr/bin/id -u\n");
        self.file(&format!("run/elevate/sudoers.d/u{UID}"), &dropin, 0o440);
    }

    pub(crate) fn dropin(&self) -> PathBuf {
        self.at(&format!("run/elevate/sudoers.d/u{UID}"))
    }

    pub(crate) fn inside(&self, script: &str, stdin: Stdio) -> Output {
        self.file("do", script, 0o644);
        let mut command = Command::new("unshare");
        command
            .args(["-m", "sh", "-c", INSIDE])
            .env_clear()
            .env("SITE", self.place.path())
            .env("FD", PAM_FD.to_string());
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(stdin).output().unwrap()
    }

    /// Runs sudo as nobody inside; exit code and standard error.
    pub(crate) fn sudo(&self, arguments: &str) -> (Option<i32>, String, String) {
        let script = format!("setpriv --reuid {UID} --regid {UID} --clear-groups sudo -n {arguments}");
        let output = self.inside(&script, Stdio::null());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }
}

fn host() -> HostId {
    HostId::from_random([1; 16])
}
