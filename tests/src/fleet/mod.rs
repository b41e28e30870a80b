//! A small fleet as an administrator would set it up: the daemon's machine, people's laptop, managed hosts.
//!
//! In: a policy with `{KEY:alice}` where a person's key goes. Out: [`Fleet`], [`Managed`], [`Person`], all driven
//! through the built programs. Runs as: root, in tests and the demo. Spec: README.md "On your own hosts".

mod booted;
mod managed;
mod person;
mod scenes;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

pub use booted::{Service, booted_host, wait_booted};
pub use managed::Managed;
pub use person::Person;
pub use scenes::{BRIEF, WEB_IN, scene, shows_certificate, ssh_scene, uptime};

use crate::inside::sudo_rs;
use crate::{Clock, Host, HostSpec, Lab, PATIENCE, Running, places};

/// Address of the daemon as every host of the fleet knows it.
pub const DAEMON: &str = "vault1:7022";
/// Who has an account on every host of the fleet, and its uid. Mallory is in no policy.
pub const PEOPLE: [(&str, u32); 4] = [("alice", 2000), ("bob", 2001), ("carol", 2002), ("mallory", 2003)];
/// The uid of the daemon's own account in the fleet.
pub const DAEMON_UID: u32 = 401;

/// Three people: alice, who is eligible for `web-ops` on hosts with `tier=web`, and bob and carol, of whom one approves.
pub const POLICY: &str = r#"
[people]
alice = { keys = ["{KEY:alice}"] }
bob   = { keys = ["{KEY:bob}"] }
carol = { keys = ["{KEY:carol}"] }

[groups]
web-admins = ["alice", "bob"]
leads      = ["bob", "carol"]

[roles.web-ops]
title    = "Run the web tier"
who      = ["@web-admins"]
hosts    = { tier = "web" }
sudo     = { as = "root", run = [["/usr/bin/id", "-u"], ["/usr/bin/ls", ["-l", "-a"], "/root"]] }
duration = "60s"
max      = "10m"
warn     = ["20s"]
approve  = [{ need = 1, of = ["@leads"], within = "1h" }]

[roles.web-quick]
title    = "Look at the web tier"
who      = ["@web-admins"]
hosts    = { tier = "web" }
sudo     = { as = "root", run = [["/usr/bin/id", "-u"]] }
duration = "10m"
max      = "1h"
mfa      = "none"

[roles.web-root]
title    = "Anything on the web tier"
who      = ["alice"]
hosts    = { tier = "web" }
sudo     = { as = "root", shell = true }
duration = "10m"
max      = "1h"
"#;

/// A running fleet. Everything vanishes with it.
#[derive(Debug)]
pub struct Fleet {
    /// The network.
    pub lab: Lab,
    /// The daemon's machine.
    pub vault: Host,
    /// Where people sit who come over SSH.
    pub laptop: Host,
    /// The daemon.
    pub daemon: Option<Running>,
}

/// What `make install` put together for this build, laid over the tree of each host.
///
/// # Errors
/// It is not there: `make stage` makes it.
fn stage() -> Result<PathBuf> {
    let programs = places::programs()?;
    let profile = programs.file_name().context("the target directory has no name")?;
    let stage = places::bed_dir()?.join("stage").join(profile);
    ensure!(stage.join("usr").is_dir(), "{} is not there: run `make stage`", stage.display());
    Ok(stage)
}

/// Which sudo a host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sudo {
    /// The classic one, of the tree's release.
    Classic,
    /// sudo-rs: that of the tree's release, or the one that `make sudo-rs` builds.
    Rs,
}

/// A host with the programs installed and nothing set up.
///
/// # Errors
/// The host does not start.
pub fn installed_host(lab: &Lab, name: &str) -> Result<Host> {
    installed_host_with(lab, name, Sudo::Classic)
}

/// The same with another sudo.
///
/// # Errors
/// The host does not start, or there is no such sudo.
pub fn installed_host_with(lab: &Lab, name: &str, sudo: Sudo) -> Result<Host> {
    let spec = HostSpec::default();
    let spec = match sudo {
        Sudo::Classic => spec,
        Sudo::Rs => spec.layer(sudo_rs::layer()?),
    };
    lab.host_with(name, spec.layer(stage()?))
}

/// What [`installed_host`] is made of, for a host that needs more.
///
/// # Errors
/// Nothing was staged: `make stage-debug` or `make stage-release` does that.
pub fn installed() -> Result<HostSpec> {
    Ok(HostSpec::default().layer(stage()?))
}

impl Fleet {
    /// A fleet with [`POLICY`].
    ///
    /// # Errors
    /// A step failed; the error quotes its output.
    pub fn new() -> Result<Self> {
        Self::with_policy(POLICY)
    }

    /// A fleet with a policy of its own.
    ///
    /// # Errors
    /// As [`Fleet::new`].
    pub fn with_policy(policy: &str) -> Result<Self> {
        Self::with_vault(installed()?, policy)
    }

    /// A fleet with a machine for the daemon that has something more than what is [`installed`].
    ///
    /// # Errors
    /// As [`Fleet::new`].
    pub fn with_vault(spec: HostSpec, policy: &str) -> Result<Self> {
        let lab = Lab::new()?;
        let vault = lab.host_with("vault1", spec)?;
        vault.add_user("elevated", DAEMON_UID)?;
        let mut fleet = Self::set_up(lab, vault, policy)?;
        fleet.start_daemon()?;
        Ok(fleet)
    }

    /// All but the start of the daemon.
    fn set_up(lab: Lab, vault: Host, policy: &str) -> Result<Self> {
        let laptop = installed_host(&lab, "laptop")?;
        for (login, uid) in PEOPLE {
            laptop.add_user(login, uid)?;
            let key = format!("/home/{login}/.ssh/id_ed25519");
            laptop.run(login, ["mkdir", "-m", "700", &format!("/home/{login}/.ssh")])?.success()?;
            laptop
                .run(login, ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", login, "-f", &key])?
                .success()?;
        }
        vault.run("root", ["elevated", "init", "--address", DAEMON])?.success()?;
        let fleet = Self { lab, vault, laptop, daemon: None };
        fleet.write_policy(policy)?;
        Ok(fleet)
    }

    /// Puts a policy in the daemon's folder; `{KEY:login}` becomes that person's public key. It is not in force yet.
    ///
    /// # Errors
    /// A person of the policy is not on the laptop.
    pub fn write_policy(&self, policy: &str) -> Result<()> {
        let mut text = policy.to_owned();
        for (login, _) in PEOPLE {
            let key = self.laptop.read(format!("/home/{login}/.ssh/id_ed25519.pub"))?;
            text = text.replace(&format!("{{KEY:{login}}}"), key.trim());
        }
        self.vault.write("/etc/elevate/policy.d/main.toml", text)
    }

    /// Starts the daemon as its unit does, and waits until it answers.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_daemon(&mut self) -> Result<()> {
        ensure!(self.daemon.is_none(), "the daemon runs already");
        self.vault
            .run("root", ["install", "-d", "-o", "elevated", "-m", "755", "/run/elevated"])?
            .success()?;
        let running = self.vault.spawn("elevated", ["/usr/sbin/elevated", "run"])?;
        running.expect("ready", PATIENCE)?;
        self.daemon = Some(running);
        Ok(())
    }

    /// Gives the daemon's machine a clock of its own; the daemon is started anew under it.
    ///
    /// # Errors
    /// It does not start.
    pub fn own_clock(&mut self) -> Result<Clock> {
        self.kill_daemon()?;
        let clock = self.vault.clock()?;
        self.start_daemon()?;
        Ok(clock)
    }

    /// `kill -9` of the daemon.
    ///
    /// # Errors
    /// It was not running.
    pub fn kill_daemon(&mut self) -> Result<()> {
        self.daemon.take().context("the daemon is not running")?.kill9().map(drop)
    }

    /// `elevatectl` as root on the daemon's machine; its standard output.
    ///
    /// # Errors
    /// It did not exit 0.
    pub fn ctl(&self, args: &[&str]) -> Result<String> {
        let argv = std::iter::once("elevatectl").chain(args.iter().copied());
        self.vault.run("root", argv)?.success()
    }

    /// A person who has logged in from the laptop and enrolled a factor there.
    ///
    /// # Errors
    /// A step failed.
    pub fn person(&self, login: &str) -> Result<Person> {
        Person::invite(self, login)
    }

    /// An enrolled host whose agent and link run, with accounts for everybody.
    ///
    /// # Errors
    /// A step failed.
    pub fn managed(&self, name: &str, labels: &[&str]) -> Result<Managed> {
        self.managed_with(name, labels, Sudo::Classic)
    }

    /// The same with another sudo.
    ///
    /// # Errors
    /// A step failed, or there is no such sudo.
    pub fn managed_with(&self, name: &str, labels: &[&str], sudo: Sudo) -> Result<Managed> {
        let host = installed_host_with(&self.lab, name, sudo)?;
        Managed::enrol(self, host, labels)
    }

    /// The events with this code, as JSON, oldest first.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn events(&self, code: &str) -> Result<Vec<serde_json::Value>> {
        let lines = self.ctl(&["audit", "tail", "-n", "10000", "--format", "json"])?;
        let all =
            lines.lines().map(serde_json::from_str::<serde_json::Value>).collect::<Result<Vec<_>, _>>()?;
        Ok(all.into_iter().filter(|event| event.get("code").is_some_and(|found| found == code)).collect())
    }
}
