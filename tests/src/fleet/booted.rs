//! Hosts that systemd boots, with the shipped units: what `make install` puts in place, started by what people type.
//!
//! In: the tree's systemd as PID 1. Out: [`Service`], and fleets and managed hosts whose programs systemd supervises.
//! Runs as: root, in tests. Spec: systemd.service(5), systemctl(1).

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Fleet, Managed, PEOPLE, installed};
use crate::{Host, Lab, PATIENCE, eventually};

/// How long a step may take in which services start.
const STARTS: Duration = PATIENCE.saturating_mul(3);

/// A host with the programs installed, booted by systemd, and nothing set up but what `make install` says to type.
///
/// # Errors
/// It does not boot.
pub fn booted_host(lab: &Lab, name: &str) -> Result<Host> {
    let host = lab.host_with(name, installed()?.init("/sbin/init"))?;
    wait_booted(&host)?;
    let accounts_folders_units =
        "systemd-sysusers && systemd-tmpfiles --create elevate.conf && systemctl daemon-reload";
    host.cmd("root", ["sh", "-c", accounts_folders_units]).limit(STARTS).run()?.success()?;
    Ok(host)
}

/// Waits until systemd has started all there is to start.
///
/// # Errors
/// Not within the usual patience.
pub fn wait_booted(host: &Host) -> Result<()> {
    // `degraded`: the tree has units of programs that have nothing to do in a test host.
    let over = |said: &str| matches!(said.trim(), "running" | "degraded");
    eventually(STARTS, "the end of the boot", || {
        host.run("root", ["systemctl", "is-system-running"]).is_ok_and(|ran| over(&ran.stdout))
    })
}

/// One unit of a booted host.
#[derive(Clone, Debug)]
pub struct Service {
    host: Host,
    unit: String,
}

impl Service {
    /// The unit of this name.
    #[must_use]
    pub fn new(host: &Host, unit: &str) -> Self {
        Self { host: host.clone(), unit: unit.to_owned() }
    }

    /// `systemctl VERB UNIT`.
    ///
    /// # Errors
    /// It did not exit 0; the error quotes the unit's journal.
    pub fn ctl(&self, verb: &str) -> Result<String> {
        let ran = self.host.cmd("root", ["systemctl", verb, &self.unit]).limit(STARTS).run()?;
        ensure!(ran.status.success(), "{ran}\n{}", self.journal()?);
        Ok(ran.stdout)
    }

    /// What systemd knows of it, by name.
    ///
    /// # Errors
    /// It could not be asked.
    pub fn properties(&self) -> Result<BTreeMap<String, String>> {
        let said = self.host.run("root", ["systemctl", "show", &self.unit])?.success()?;
        let pairs = said.lines().filter_map(|line| line.split_once('='));
        Ok(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// One of the properties.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn property(&self, name: &str) -> Result<String> {
        let all = self.properties()?;
        all.get(name).cloned().with_context(|| format!("{} has no property {name}", self.unit))
    }

    /// Its main process, as the host counts; none when it has none.
    ///
    /// # Errors
    /// It could not be asked.
    pub fn pid(&self) -> Result<Option<u32>> {
        Ok(Some(self.property("MainPID")?.parse()?).filter(|pid| *pid != 0))
    }

    /// Whether it runs and has said that it is ready.
    ///
    /// # Errors
    /// It could not be asked.
    pub fn is_running(&self) -> Result<bool> {
        Ok(self.property("ActiveState")? == "active" && self.property("SubState")? == "running")
    }

    /// What the journal has of it and of what systemd did with it, since the boot.
    ///
    /// # Errors
    /// The journal could not be read.
    pub fn journal(&self) -> Result<String> {
        self.host.run("root", ["journalctl", "--no-pager", "-o", "cat", "-u", &self.unit])?.success()
    }

    /// Sends a signal to its main process, and to no other.
    ///
    /// # Errors
    /// It does not run.
    pub fn signal(&self, name: &str) -> Result<()> {
        let pid = self.pid()?.with_context(|| format!("{} does not run", self.unit))?;
        self.host.run("root", ["kill", "-s", name, &pid.to_string()])?.success().map(drop)
    }
}

impl Fleet {
    /// A fleet whose daemon systemd supervises, on a machine that systemd booted.
    ///
    /// # Errors
    /// A step failed.
    pub fn booted(policy: &str) -> Result<Self> {
        let lab = Lab::new()?;
        let vault = booted_host(&lab, "vault1")?;
        let fleet = Self::set_up(lab, vault, policy)?;
        let start = fleet.vault.cmd("root", ["systemctl", "enable", "--now", "elevated"]).limit(STARTS);
        start.run()?.success()?;
        Ok(fleet)
    }

    /// An enrolled host that systemd booted; `enroll` starts agent and link there.
    ///
    /// # Errors
    /// A step failed.
    pub fn booted_managed(&self, name: &str, labels: &[&str]) -> Result<Managed> {
        let host = booted_host(&self.lab, name)?;
        for (login, uid) in PEOPLE {
            host.add_user(login, uid)?;
        }
        self.enrol_booted(host, labels)
    }

    /// Enrols such a host.
    ///
    /// # Errors
    /// A step failed.
    pub fn enrol_booted(&self, host: Host, labels: &[&str]) -> Result<Managed> {
        let mut invite = vec!["host", "invite", host.name(), "-q"];
        for label in labels {
            invite.extend(["--label", label]);
        }
        let paste = self.ctl(&invite)?;
        let enrol = host.cmd("root", ["elevate-agent", "enroll", "--yes"]).input(paste).limit(STARTS);
        let said = enrol.run()?.exits(0)?;
        ensure!(said.contains("elevate-agent and elevate-link are running"), "{said}");
        let managed = Managed { host, agent: None, link: None };
        managed.wait_connected(self)?;
        Ok(managed)
    }
}
