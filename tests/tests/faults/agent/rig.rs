//! A host in a folder for the real `elevate-agent`, in a mount namespace of its own, and the real sudo to ask.
//!
//! In: a plan of strace. Out: the agent's process, what it said, and what sudo makes of its rules.

use std::ffi::OsString;
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use elevate_protocol::id::{ClusterId, HostId};
use elevate_protocol::signed::TrustedKeys;
use elevate_tests::places;
use ssh_key::{LineEnding, PrivateKey, private::Ed25519Keypair};

use crate::daemon::vault::comes;
use crate::strace::{self, Executioner, Plan};

pub(crate) fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

pub(crate) fn host() -> HostId {
    HostId::from_random([1; 16])
}

pub(crate) fn cluster() -> ClusterId {
    ClusterId::from_random([2; 16])
}

/// Folders that the agent writes to.
const FOLDERS: [&str; 6] = [
    "var/lib/elevate",
    "var/lib/elevate/log",
    "var/lib/elevate/spool",
    "run/elevate",
    "run/elevate/sudoers.d",
    "run/elevate/grants/u2000",
];

/// In a namespace of its own: the accounts, and a sudo that reads nothing but root's line and the agent's folder.
const ENTER: &str = "umask 0022; mount --make-rprivate / && mount --bind \"$1/passwd\" /etc/passwd && \
    mount --bind \"$1/sudoers\" /etc/sudoers && mount -t tmpfs none /etc/sudoers.d && mount -t tmpfs none /run && \
    mkdir -p /run/elevate && mount --bind \"$1/run/elevate\" /run/elevate && shift && exec \"$@\"";

/// The host.
pub(crate) struct Rig {
    place: tempfile::TempDir,
    child: Option<Child>,
    executioner: Option<Executioner>,
    starts: u32,
}

impl Rig {
    /// An enrolled host whose agent has not started.
    pub(crate) fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        std::fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
        let rig = Self { place, child: None, executioner: None, starts: 0 };
        std::fs::create_dir_all(rig.path("run/elevate")).unwrap();
        let (host, cluster) = (host(), cluster());
        let config = format!(
            "daemon = \"127.0.0.1:7022\"\nfingerprint = \"SHA256:x\"\nhost = \"{host}\"\nname = \"web1\"\ncluster = \"{cluster}\"\nlink_user = \"root\"\n"
        );
        let signers = TrustedKeys::one(key(7).public_key().clone()).unwrap().to_signers().unwrap();
        let gate = "#%PAM-1.0\naccount [success=ok ignore=ignore module_unknown=ignore default=die] pam_elevate.so\n";
        for (path, text, mode) in [
            ("etc/elevate/agent.toml", config.as_str(), 0o644),
            ("etc/elevate/trust/grant_signers", &signers, 0o644),
            ("etc/elevate/keys/vouch", &key(8).to_openssh(LineEnding::LF).unwrap(), 0o600),
            ("var/lib/elevate/position", r#"{"epoch":1,"seq":0}"#, 0o600),
            ("etc/sudoers.d/zz-elevate", "@includedir /run/elevate/sudoers.d\n", 0o440),
            ("etc/sudoers", "@includedir /etc/sudoers.d\n", 0o440),
            ("etc/pam.d/sudo", gate, 0o644),
            ("etc/pam.d/sudo-i", gate, 0o644),
            ("lib/x/security/pam_unix.so", "", 0o644),
            ("sudoers", "root ALL=(ALL:ALL) ALL\n@includedir /run/elevate/sudoers.d\n", 0o440),
            (
                "passwd",
                "root:x:0:0:root:/root:/bin/sh\nalice:x:2000:2000::/:/bin/sh\nmallory:x:2001:2001::/:/bin/sh\n",
                0o644,
            ),
        ] {
            rig.write(path, text, mode);
        }
        // Any whole library will do: the agent looks at the file and does not load it.
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let library = maps.split_whitespace().find(|word| word.contains("/libc.so")).unwrap();
        std::fs::copy(library, rig.path("lib/x/security/pam_elevate.so")).unwrap();
        rig
    }

    fn write(&self, path: &str, text: &str, mode: u32) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }

    pub(crate) fn base(&self) -> &Path {
        self.place.path()
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.place.path().join(path)
    }

    pub(crate) fn trace(&self) -> PathBuf {
        self.path("trace")
    }

    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(self.path(&format!("said{}", self.starts))).unwrap_or_default()
    }

    /// Whether one of the agents said this.
    pub(crate) fn ever_said(&self, text: &str) -> bool {
        let logs = (1..=self.starts).map(|start| std::fs::read_to_string(self.path(&format!("said{start}"))));
        logs.flatten().any(|log| log.contains(text))
    }

    fn inside(&self, program: &Command) -> Command {
        let mut command = Command::new("/usr/bin/unshare");
        command.args(["--mount", "/bin/sh", "-c", ENTER, "sh"]).arg(self.base());
        command.arg(program.get_program()).args(program.get_args());
        command
    }

    /// Starts the agent; whether it became ready.
    pub(crate) fn start(&mut self, plan: &Plan) -> bool {
        self.starts += 1;
        let agent: OsString = places::program("elevate-agent").unwrap().into();
        let command = [agent, "--root".into(), self.base().into(), "run".into()];
        let said = File::create(self.path(&format!("said{}", self.starts))).unwrap();
        let mut command = self.inside(&strace::wrap(&command, plan, (self.base(), &self.trace())));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said).spawn().unwrap();
        self.executioner = Executioner::wait(child.id(), plan, (self.trace(), || ()));
        self.child = Some(child);
        let door = self.path("run/elevate/agent.sock");
        comes(|| self.has_ended() || UnixStream::connect(&door).is_ok()) && !self.has_ended()
    }

    /// The word of the host's root, with the program that is there for it. It refuses when the agent has not heard of the epoch yet.
    pub(crate) fn confirm(&self, epoch: u32) {
        let mut confirm = Command::new(places::program("elevate-agent").unwrap());
        confirm.arg("--root").arg(self.base()).args(["confirm-epoch", &epoch.to_string()]);
        let done = confirm.output().unwrap();
        assert!(matches!(done.status.code(), Some(0 | 2)), "{done:?}");
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some())
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
        self.executioner = None;
    }

    /// What the real sudo lists for an account, asked as root.
    pub(crate) fn sudo_lists(&self, login: &str) -> String {
        let mut sudo = Command::new("/usr/bin/sudo");
        sudo.args(["-n", "-l", "-U", login]);
        let output = self.inside(&sudo).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!errors.contains("syntax") && !errors.contains("parse"), "{errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Drafts of writes that were cut off.
    pub(crate) fn drafts(&self) -> Vec<String> {
        let entries = FOLDERS.iter().filter_map(|folder| std::fs::read_dir(self.path(folder)).ok()).flatten();
        let names = entries.map(|entry| entry.unwrap().path().display().to_string());
        names.filter(|path| path.ends_with(".new")).collect()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.kill();
    }
}
