//! Every place on the host that the agent reads or writes, in one table.
//!
//! In: the folder that stands for `/`. Out: [`Paths`]. Spec: docs/architecture.md "On the host".

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Places on the host. `/` can be replaced as a whole, so that tests need no second table.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    /// The folder that stands for `/`.
    pub(crate) root: PathBuf,
    /// `agent.toml`.
    pub(crate) config: PathBuf,
    /// What this host never allows; need not be there.
    pub(crate) ceiling: PathBuf,
    /// Root's word on the epoch of the host's log; need not be there.
    pub(crate) epoch: PathBuf,
    /// Folder of the pinned signers.
    pub(crate) trust: PathBuf,
    /// Signers of grants, read by `ssh-keygen -Y verify -f` too.
    pub(crate) grant_signers: PathBuf,
    /// Who signs certificates of people, for sshd.
    pub(crate) user_ca: PathBuf,
    /// Who signs certificates of hosts.
    pub(crate) host_ca: PathBuf,
    /// Folder of this host's certificates, for sshd.
    pub(crate) host_certificates: PathBuf,
    /// There as long as sshd may not have read them.
    pub(crate) sshd_stale: PathBuf,
    /// There as long as it is not proved what sshd does with our file.
    pub(crate) sshd_unproved: PathBuf,
    /// Folder of the host's own keys.
    pub(crate) keys: PathBuf,
    /// Private key that signs what the host claims.
    pub(crate) vouch_key: PathBuf,
    /// The agent's durable state.
    pub(crate) state: PathBuf,
    /// One `<id>.grant` per grant: everything signed about it.
    pub(crate) log: PathBuf,
    /// Epoch and place of the last applied document.
    pub(crate) position: PathBuf,
    /// Reports that the daemon has not acknowledged.
    pub(crate) spool: PathBuf,
    /// What does not outlive a boot.
    pub(crate) run: PathBuf,
    /// Door 1.
    pub(crate) agent_socket: PathBuf,
    /// Where `elevate-link` connects.
    pub(crate) link_socket: PathBuf,
    /// One drop-in per person.
    pub(crate) sudoers: PathBuf,
    /// `u<uid>/<id>.grant`: what the PAM gate checks.
    pub(crate) grants: PathBuf,
    /// `u<uid>`: what that person has in force, for their own prompt.
    pub(crate) mine: PathBuf,
    /// Roles that may be activated here, by login.
    pub(crate) offers: PathBuf,
    /// What certificates open, by account.
    pub(crate) principals: PathBuf,
    /// Connections of sshd that certificates have opened.
    pub(crate) connections: PathBuf,
    /// How far sshd's log was read.
    pub(crate) sshd_log: PathBuf,
    /// When each grant ends on CLOCK_BOOTTIME.
    pub(crate) deadlines: PathBuf,
    /// Grants that ended before their time, while their certificates may live.
    pub(crate) ended: PathBuf,
    /// Grants whose end came before its turn in the log.
    pub(crate) early: PathBuf,
    /// Held by the one agent that runs.
    pub(crate) lock: PathBuf,
    /// What `status` shows.
    pub(crate) status: PathBuf,
    /// The one static line in sudo's own folder.
    pub(crate) include: PathBuf,
    /// What sudo-rs reads instead of /etc/sudoers, where it is there.
    pub(crate) sudoers_rs: PathBuf,
    /// sshd's main file.
    pub(crate) sshd_main: PathBuf,
    /// Ours among those that it includes.
    pub(crate) sshd_file: PathBuf,
    /// sshd's list of revoked certificates: beside sshd's own files, since who empties our folder must not lock everybody out.
    pub(crate) revoked: PathBuf,
    /// Held by the one who makes that list.
    pub(crate) revoked_lock: PathBuf,
    /// Folder of PAM services.
    pub(crate) pam_services: PathBuf,
    /// Folder of terminals.
    pub(crate) terminals: PathBuf,
    /// Where libpam's modules were found.
    pub(crate) modules: Arc<OnceLock<PathBuf>>,
}

impl Paths {
    /// The table below `root`.
    #[must_use]
    pub(crate) fn below(root: &Path) -> Self {
        let at = |path: &str| root.join(path);
        Self {
            root: root.to_owned(),
            config: at("etc/elevate/agent.toml"),
            ceiling: at("etc/elevate/ceiling.toml"),
            epoch: at("etc/elevate/epoch"),
            trust: at("etc/elevate/trust"),
            grant_signers: at("etc/elevate/trust/grant_signers"),
            user_ca: at("etc/elevate/trust/user_ca"),
            host_ca: at("etc/elevate/trust/host_ca"),
            host_certificates: at("etc/elevate/trust/ssh"),
            sshd_stale: at("run/elevate/sshd.stale"),
            sshd_unproved: at("var/lib/elevate/sshd.unproved"),
            keys: at("etc/elevate/keys"),
            vouch_key: at("etc/elevate/keys/vouch"),
            state: at("var/lib/elevate"),
            log: at("var/lib/elevate/log"),
            position: at("var/lib/elevate/position"),
            spool: at("var/lib/elevate/spool"),
            run: at("run/elevate"),
            agent_socket: at("run/elevate/agent.sock"),
            link_socket: at("run/elevate/link.sock"),
            sudoers: at("run/elevate/sudoers.d"),
            grants: at("run/elevate/grants"),
            mine: at("run/elevate/mine"),
            offers: at("run/elevate/offers.json"),
            principals: at("run/elevate/principals"),
            connections: at("run/elevate/connections.json"),
            sshd_log: at("run/elevate/sshd-log"),
            deadlines: at("run/elevate/deadlines.json"),
            ended: at("run/elevate/ended.json"),
            early: at("run/elevate/early.json"),
            lock: at("run/elevate/agent.lock"),
            status: at("run/elevate/status.json"),
            include: at("etc/sudoers.d/zz-elevate"),
            sudoers_rs: at("etc/sudoers-rs"),
            sshd_main: at("etc/ssh/sshd_config"),
            sshd_file: at("etc/ssh/sshd_config.d/20-elevate.conf"),
            revoked: at("etc/ssh/elevate/revoked"),
            revoked_lock: at("run/elevate/revoked.lock"),
            pam_services: at("etc/pam.d"),
            terminals: PathBuf::from("/dev/pts"),
            modules: Arc::default(),
        }
    }

    /// The folder that holds `pam_unix.so`, and so the one that libpam loads modules from.
    #[must_use]
    pub(crate) fn pam_modules(&self) -> Option<PathBuf> {
        let has_modules = |folder: &PathBuf| folder.join("pam_unix.so").is_file();
        if let Some(folder) = self.modules.get().filter(|folder| has_modules(folder)) {
            return Some(folder.clone());
        }
        let direct = ["lib/security", "lib64/security", "usr/lib/security", "usr/lib64/security"];
        let mut folders: Vec<PathBuf> = direct.iter().map(|path| self.root.join(path)).collect();
        for parent in ["lib", "usr/lib"] {
            // Debian's multiarch folders: /usr/lib/x86_64-linux-gnu/security.
            let Ok(entries) = std::fs::read_dir(self.root.join(parent)) else { continue };
            folders.extend(entries.flatten().map(|entry| entry.path().join("security")));
        }
        folders.sort();
        let found = folders.into_iter().find(has_modules)?;
        // The folder of libpam's modules is compiled into it: where it was once, it is looked for first.
        Some(self.modules.get_or_init(|| found.clone()).clone()).filter(has_modules).or(Some(found))
    }

    /// A program of the distribution, from fixed places and never through PATH.
    #[must_use]
    pub(crate) fn program(name: &str) -> Option<PathBuf> {
        ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
            .iter()
            .map(|folder| Path::new(folder).join(name))
            .find(|path| path.is_file())
    }
}
