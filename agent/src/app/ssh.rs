//! Grants that open accounts by certificate: what sshd is told of them, and whether it asks.
//!
//! In: grants in force, the host's sshd. Out: files of [`principals`], a host that refuses what it does not enforce. Threats E15.

use elevate_protocol::flavour::SshEnforcement;
use elevate_protocol::message::agent::Claim;
use elevate_protocol::principals::Entry;
use elevate_protocol::signed::VerifiedGrant;
use elevate_protocol::text::UntrustedText;

use super::grants::Standing;
use super::state::Agent;
use crate::clock::{Boot, Moment};
use crate::enforce::principals::{self, Wanted};
use crate::journal::{self, Level};
use crate::paths::Paths;
use crate::safe;
use crate::sshd::{self, SshdError};

/// The host's sshd as it was last seen.
#[derive(Debug)]
pub(crate) struct Ssh {
    /// The group of the program that sshd asks, or why it does not ask.
    enforcement: Result<u32, SshdError>,
    /// What the files say.
    written: Wanted,
    /// What the daemon was told on this connection.
    told: Option<SshEnforcement>,
}

impl Ssh {
    /// Looks at sshd's files.
    #[must_use]
    pub(crate) fn look(paths: &Paths) -> Self {
        // What an agent before this one left is swept without alarm.
        let names = safe::names(&paths.principals).unwrap_or_default();
        let left = names.iter().filter_map(|name| Some((name.to_str()?.parse().ok()?, Vec::new())));
        Self { enforcement: sshd::enforcement(paths), written: left.collect(), told: None }
    }

    fn found(&self) -> SshEnforcement {
        match &self.enforcement {
            Ok(_) => SshEnforcement::Asks,
            Err(error) => SshEnforcement::None { why: UntrustedText::lossy(&error.to_string()) },
        }
    }

    /// What the daemon is told in the hello; later it is told what differs.
    pub(crate) fn greeting(&mut self) -> SshEnforcement {
        let found = self.found();
        self.told.insert(found).clone()
    }

    /// Why certificates open nothing here.
    #[must_use]
    pub(crate) fn hindrance(&self) -> Option<&SshdError> {
        self.enforcement.as_ref().err()
    }
}

impl Standing {
    /// What sshd is told, when the grant is in force and has an SSH part.
    fn principals(&self, now: Moment, contact: Option<Boot>) -> Option<(&VerifiedGrant, Entry)> {
        let grant = &self.held.verified;
        let part = grant.grant().ssh.as_ref()?;
        let live = self.in_force(now, contact)?.live;
        let ends = self.lease_ends(contact).map_or(self.ends, |lease| lease.min(self.ends));
        Some((grant, Entry::new(grant.grant().id, (live.not_after(), ends.0), part.options())))
    }
}

impl Agent {
    /// Whether this host enforces both parts of a grant, as far as it has them.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn can_enforce(&mut self, grant: &VerifiedGrant, now: Moment) -> Result<(), String> {
        // Looked at afresh: no rule is installed on the strength of a gate that stood some seconds ago.
        if grant.grant().sudo.is_some() {
            self.probe(now);
            self.enforcement.as_ref().map_err(ToString::to_string)?;
        }
        if grant.grant().ssh.is_some() {
            self.look_at_sshd(now);
            self.ssh.enforcement.as_ref().map_err(ToString::to_string)?;
        }
        Ok(())
    }

    /// Looks whether sshd asks us still; where it does not, no certificate of ours opens anything, and that is told.
    pub(crate) fn look_at_sshd(&mut self, now: Moment) {
        let found = sshd::enforcement(&self.paths);
        if found == self.ssh.enforcement {
            return self.tell_ssh();
        }
        self.ssh.enforcement = found;
        match &self.ssh.enforcement {
            Ok(_) => journal::log(Level::Info, "sshd asks which certificates open an account"),
            Err(error) => {
                let what = format!("no certificate of a grant opens an account any more: {error}");
                self.tampered(now, &what);
            }
        }
        drop(self.enforce_ssh(now));
        self.tell_ssh();
    }

    /// Tells the daemon when it was told otherwise. The next hello says it where there is no connection.
    pub(crate) fn tell_ssh(&mut self) {
        let found = self.ssh.found();
        if self.is_linked() && self.ssh.told.as_ref() != Some(&found) {
            self.claim(Claim::Ssh(found.clone()));
            self.ssh.told = Some(found);
        }
    }

    /// Makes the files of sshd's question say exactly what is in force.
    ///
    /// # Errors
    /// Why not; what still stands there ends by its own clocks.
    pub(crate) fn enforce_ssh(&mut self, now: Moment) -> Result<(), String> {
        let mut wanted = Wanted::new();
        let contact = self.contact.proven;
        for (grant, entry) in self.grants.values().filter_map(|grant| grant.principals(now, contact)) {
            for login in grant.grant().ssh.iter().flat_map(|part| part.logins()) {
                wanted.entry(login.clone()).or_default().push(entry.clone());
            }
        }
        let idle = wanted.is_empty() && self.ssh.written.is_empty();
        if idle && !self.paths.principals.exists() {
            return Ok(());
        }
        let done = match &self.ssh.enforcement {
            Ok(group) => principals::install(&self.paths, *group, &wanted, &self.ssh.written),
            Err(_) => {
                wanted.clear();
                principals::clear(&self.paths, &self.ssh.written).map(|()| Vec::new())
            }
        };
        match done {
            Ok(foreign) => {
                self.ssh.written = wanted;
                for path in foreign {
                    self.tampered(now, &format!("removed {path}: no grant of this host accounts for it"));
                }
                Ok(())
            }
            Err(error) => {
                // Any of them may stand there now.
                self.ssh.written.append(&mut wanted);
                let why = journal::chain(&error);
                journal::log(Level::Error, &format!("what certificates open cannot be changed: {why}"));
                Err(why)
            }
        }
    }
}
