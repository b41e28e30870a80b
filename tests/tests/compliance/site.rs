//! What every case starts from: a fleet whose roles need no factor, and a host with the sudo in question.

use anyhow::{Result, ensure};
use elevate_tests::fleet::{Fleet, Managed, Sudo};

/// A command of `web-quick`.
pub(crate) const ID: [&str; 2] = ["/usr/bin/id", "-u"];
/// Alice's drop-in.
pub(crate) const DROP_IN: &str = "/run/elevate/sudoers.d/u2000";

/// Roles with each thing that a role can allow.
pub(crate) const POLICY: &str = r#"
[people]
alice = { keys = ["{KEY:alice}"] }
bob   = { keys = ["{KEY:bob}"] }

[defaults]
reason   = "optional"
duration = "10m"

[roles.web-quick]
who   = ["alice"]
hosts = { tier = "web" }
sudo  = { as = "root", run = [["/usr/bin/id", "-u"], ["/usr/bin/printf", "a=b:c,d"], ["/usr/bin/true"]] }
mfa   = "none"

[roles.web-short]
who      = ["alice"]
hosts    = { tier = "web" }
sudo     = { as = "root", run = [["/usr/bin/id", "-u"]] }
duration = "5s"
mfa      = "none"

[roles.web-root]
who   = ["alice"]
hosts = { tier = "web" }
sudo  = { as = "root", shell = true }
mfa   = "none"

[roles.web-edit]
who   = ["alice"]
hosts = { tier = "web" }
sudo  = { as = "root", edit = ["/etc/motd"] }
mfa   = "none"

[roles.web-deploy]
who   = ["alice"]
hosts = { tier = "web" }
sudo  = { as = "carol", run = [["/usr/bin/id", "-un"]] }
mfa   = "none"
"#;

/// A fleet and the host under test.
pub(crate) struct Site {
    /// The fleet.
    pub(crate) fleet: Fleet,
    /// The host under test.
    pub(crate) web1: Managed,
}

impl Site {
    /// With this sudo on web1.
    pub(crate) fn with(sudo: Sudo) -> Result<Self> {
        let fleet = Fleet::with_policy(POLICY)?;
        let web1 = fleet.managed_with("web1", &["tier=web"], sudo)?;
        // sudo-rs 0.2.5 says it on standard error.
        let line = web1.host.run("root", ["sudo", "-V"])?.exits(0)?;
        let begins = match sudo {
            Sudo::Classic => "Sudo version 1.9.",
            Sudo::Rs => "sudo-rs 0.",
        };
        ensure!(line.starts_with(begins), "the host has another sudo: {line}");
        Ok(Self { fleet, web1 })
    }

    /// Alice activates a role; it is in force then.
    pub(crate) fn activate(&self, role: &str) -> Result<()> {
        self.web1.host.run("alice", ["elevate", role])?.success().map(drop)
    }

    /// `sudo -n` as alice is allowed; what it said on standard output.
    pub(crate) fn allowed(&self, args: &[&str]) -> Result<String> {
        self.web1.host.run("alice", ["sudo", "-n"].into_iter().chain(args.iter().copied()))?.success()
    }

    /// `sudo -n` as `login` is refused, and nothing of the command ran.
    pub(crate) fn refused(&self, login: &str, args: &[&str]) -> Result<()> {
        let ran = self.web1.host.run(login, ["sudo", "-n"].into_iter().chain(args.iter().copied()))?;
        ensure!(ran.status.code() == Some(1) && ran.stdout.is_empty(), "{login} {args:?}: {ran}");
        Ok(())
    }
}
