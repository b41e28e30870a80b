//! A managed host: enrolled by paste string, agent and link running.
//!
//! In: a fleet, a name, labels. Out: [`Managed`]. Runs as: root on that host. Spec: README.md "On your own hosts".

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Fleet, PEOPLE, Person};
use crate::{Clock, Host, PATIENCE, Running, Tty, eventually};

/// The uids of the accounts that the package makes on a host of the fleet.
const LINK_UID: u32 = 402;
const SSH_UID: u32 = 403;

/// A host with Elevate on it.
#[derive(Debug)]
pub struct Managed {
    /// The host.
    pub host: Host,
    /// `elevate-agent run`.
    pub agent: Option<Running>,
    /// `elevate-link`.
    pub link: Option<Running>,
}

impl Managed {
    /// Enrols a host that has the programs and nothing else, and starts its agent.
    ///
    /// # Errors
    /// A step failed.
    pub fn enrol(fleet: &Fleet, host: Host, labels: &[&str]) -> Result<Self> {
        let name = host.name().to_owned();
        Self::accounts(&host)?;
        let managed = Self::enrol_as(fleet, (host, &name), labels)?;
        managed.wait_connected(fleet)?;
        Ok(managed)
    }

    /// The people, and who Elevate runs as.
    ///
    /// # Errors
    /// One of them is there.
    pub fn accounts(host: &Host) -> Result<()> {
        for (login, uid) in PEOPLE {
            host.add_user(login, uid)?;
        }
        host.add_user("elevate-link", LINK_UID)?;
        host.add_user("elevate-ssh", SSH_UID)
    }

    /// The same of a machine that has them, under a name that may be another machine's, and not waited for.
    ///
    /// # Errors
    /// A step failed.
    pub fn enrol_as(fleet: &Fleet, (host, name): (Host, &str), labels: &[&str]) -> Result<Self> {
        host.run("root", ["install", "-d", "-o", "elevate-link", "-m", "700", "/var/lib/elevate-link"])?
            .success()?;
        let mut invite = vec!["host", "invite", name, "-q"];
        for label in labels {
            invite.extend(["--label", label]);
        }
        let paste = fleet.ctl(&invite)?;
        host.cmd("root", ["elevate-agent", "enroll", "--yes", "--no-services"])
            .input(paste)
            .run()?
            .success()?;
        let mut managed = Self { host, agent: None, link: None };
        managed.start_agent()?;
        managed.start_link()?;
        Ok(managed)
    }

    /// Starts the agent as its unit does.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_agent(&mut self) -> Result<()> {
        // A killed agent's lock is held for a moment more by a child of it that has not come to its program yet.
        let free = "! test -e /run/elevate/agent.lock || flock -n /run/elevate/agent.lock true";
        eventually(PATIENCE, "the end of the agent before", || {
            self.host.run("root", ["sh", "-c", free]).is_ok_and(|done| done.success().is_ok())
        })?;
        let running = self.host.spawn("root", ["/usr/sbin/elevate-agent", "run"])?;
        running.expect("ready", PATIENCE)?;
        self.agent = Some(running);
        Ok(())
    }

    /// Starts the link as its unit does.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_link(&mut self) -> Result<()> {
        self.link = Some(self.host.spawn("elevate-link", ["/usr/libexec/elevate/elevate-link", "run"])?);
        Ok(())
    }

    /// Gives the host a clock of its own; agent and link are started anew under it.
    ///
    /// # Errors
    /// They do not start.
    pub fn own_clock(&mut self, fleet: &Fleet) -> Result<Clock> {
        self.kill_link()?;
        self.kill_agent()?;
        self.wait_gone(fleet)?;
        let clock = self.host.clock()?;
        self.start_agent()?;
        self.start_link()?;
        self.wait_connected(fleet)?;
        Ok(clock)
    }

    /// Does something while the link is away: moving the daemon's clock, say, which ends its connections at a moment of its own.
    ///
    /// # Errors
    /// It fails, or the host is not in sync again afterwards.
    pub fn cut_off(&mut self, fleet: &Fleet, meanwhile: impl FnOnce() -> Result<()>) -> Result<()> {
        self.kill_link()?;
        self.wait_gone(fleet)?;
        meanwhile()?;
        self.start_link()?;
        self.wait_connected(fleet)
    }

    /// `kill -9` of the agent.
    ///
    /// # Errors
    /// It was not running.
    pub fn kill_agent(&mut self) -> Result<()> {
        self.agent.take().context("the agent is not running")?.kill9().map(drop)
    }

    /// `kill -9` of the link.
    ///
    /// # Errors
    /// It was not running.
    pub fn kill_link(&mut self) -> Result<()> {
        self.link.take().context("the link is not running")?.kill9().map(drop)
    }

    /// Waits until the daemon has this host connected and nothing left to send.
    ///
    /// # Errors
    /// Not within the usual patience.
    pub fn wait_connected(&self, fleet: &Fleet) -> Result<()> {
        let in_sync = || {
            let own = self.listed(fleet)?;
            (own.get("connected")? == true && own.get("behind")? == 0).then_some(())
        };
        eventually(PATIENCE, "the host connected and in sync", || in_sync().is_some())
    }

    /// Waits until the daemon has seen the end of the connection: until then it says that the host is connected.
    fn wait_gone(&self, fleet: &Fleet) -> Result<()> {
        let is_there = || Some(self.listed(fleet)?.get("connected")? == true);
        eventually(PATIENCE, "the end of the connection", || is_there() != Some(true))
    }

    /// What the daemon says of this host.
    fn listed(&self, fleet: &Fleet) -> Option<Value> {
        let listed = fleet.ctl(&["host", "list", "--format", "json"]).ok()?;
        let listed: Value = serde_json::from_str(&listed).ok()?;
        let hosts = listed.get("hosts")?.as_array()?;
        hosts.iter().find(|host| host.get("name").is_some_and(|name| name == self.host.name())).cloned()
    }

    /// `elevate` as a person at a terminal of this host: door 1.
    ///
    /// # Errors
    /// It could not be started.
    pub fn terminal(&self, login: &str, args: &[&str]) -> Result<Tty> {
        self.host.tty(login, std::iter::once("elevate").chain(args.iter().copied()))
    }

    /// Activates through door 1 with reason and code; what the screen said. Others approve in `meanwhile`.
    ///
    /// # Errors
    /// It did not exit 0.
    pub fn activate(
        &self,
        person: &mut Person,
        args: &[&str],
        meanwhile: impl FnOnce() -> Result<()>,
    ) -> Result<String> {
        let mut screen = self.terminal(&person.login, args)?;
        screen.expect("Code for")?;
        let code = person.code()?;
        screen.line(&code)?;
        meanwhile()?;
        let status = screen.wait()?;
        ensure!(status.success(), "elevate {args:?}: {status}\n{}", screen.screen());
        Ok(screen.screen())
    }

    /// `sudo -n` as a person: the exit code and everything said.
    ///
    /// # Errors
    /// It could not be started.
    pub fn sudo(&self, login: &str, args: &[&str]) -> Result<(i32, String)> {
        let ran = self.host.run(login, ["sudo", "-n"].into_iter().chain(args.iter().copied()))?;
        Ok((ran.status.code().unwrap_or(-1), format!("{}{}", ran.stdout, ran.stderr)))
    }

    /// Waits until the agent has taken the rights of a person away; sudo is not asked, so that no use is reported.
    ///
    /// # Errors
    /// There is no such person, or not within `limit`.
    pub fn wait_end(&self, login: &str) -> Result<()> {
        let (_, uid) = PEOPLE.iter().find(|(name, _)| *name == login).context("nobody of that name")?;
        let drop_in = format!("/run/elevate/sudoers.d/u{uid}");
        eventually(PATIENCE.saturating_mul(6), "the drop-in to go", || !self.host.exists(&drop_in))
    }

    /// Waits until `sudo -n` of these arguments exits as expected.
    ///
    /// # Errors
    /// Not within `limit`.
    pub fn wait_sudo(&self, login: &str, args: &[&str], allowed: bool) -> Result<()> {
        eventually(PATIENCE.saturating_mul(6), "sudo to decide otherwise", || {
            self.sudo(login, args).is_ok_and(|(code, _)| (code == 0) == allowed)
        })
    }
}
