//! What many tests begin with: one host under the fleet's policy and some roles more, and rights that are not asked about.
//!
//! In: roles as TOML. Out: [`Fleet`] and [`Managed`]; moments on the clock that nobody sets. Runs as: root, in tests.

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Fleet, Managed, POLICY, Person, installed_host};
use crate::{PATIENCE, Running, eventually};

/// A right of alice's that ends soon.
pub const BRIEF: &str = r#"
[roles.web-brief]
who      = ["alice"]
hosts    = { tier = "web" }
sudo     = { as = "root", run = [["/usr/bin/id", "-u"]] }
duration = "15s"
mfa      = "none"
warn     = []
"#;

/// A fleet with [`POLICY`] and these roles, and web1.
///
/// # Errors
/// A step failed.
pub fn scene(roles: &str) -> Result<(Fleet, Managed)> {
    let fleet = Fleet::with_policy(&format!("{POLICY}{roles}"))?;
    let web1 = fleet.managed("web1", &["tier=web"])?;
    Ok((fleet, web1))
}

/// CLOCK_BOOTTIME in milliseconds: the same in every test host.
#[must_use]
pub fn uptime() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    let (seconds, rest) = text.split_once('.')?;
    let hundredths: u64 = rest.split(' ').next()?.parse().ok()?;
    Some(seconds.parse::<u64>().ok()?.saturating_mul(1000).saturating_add(hundredths.saturating_mul(10)))
}

impl Managed {
    /// Activates a role that takes no factor, through door 1; what `elevate` said.
    ///
    /// # Errors
    /// It did not exit 0.
    pub fn begin(&self, login: &str, role: &str) -> Result<String> {
        self.host.run(login, ["elevate", role, "-m", "an ordinary reason"])?.success()
    }

    /// The end of the one grant in force here, in milliseconds since the boot.
    ///
    /// # Errors
    /// There is none.
    pub fn end(&self) -> Result<u64> {
        let deadlines: Value = serde_json::from_str(&self.host.read("/run/elevate/deadlines.json")?)?;
        let ends = deadlines.get("ends").and_then(Value::as_object).context("no ends")?;
        ends.values().next().and_then(Value::as_u64).context("no end")
    }
}

/// A role that opens an account by SSH and nothing else.
pub const WEB_IN: &str = r#"
[roles.web-in]
title    = "Log in to the web tier"
who      = ["alice"]
hosts    = { tier = "web" }
ssh      = { logins = ["deploy"] }
duration = "10m"
max      = "1h"
mfa      = "none"
"#;

/// A fleet with [`WEB_IN`], web1 with an account `deploy` and a running sshd, alice who has never met a host: ssh refuses what
/// it would have to ask her about.
///
/// # Errors
/// Something of it does not start.
pub fn ssh_scene() -> Result<(Fleet, Managed, Running, Person)> {
    let fleet = Fleet::with_policy(&format!("{POLICY}{WEB_IN}"))?;
    let host = installed_host(&fleet.lab, "web1")?;
    host.add_user("deploy", 2100)?;
    // Before the enrolment: it tries its file on this sshd.
    let sshd = host.sshd()?;
    let web1 = Managed::enrol(&fleet, host, &["tier=web"])?;
    let alice = fleet.person("alice")?;
    fleet.laptop.write("/home/alice/.ssh/config", "LogLevel ERROR\n")?;
    shows_certificate(&fleet, "web1")?;
    Ok((fleet, web1, sshd, alice))
}

/// Waits until a host's sshd shows a certificate: its agent has asked for it, and told sshd.
///
/// # Errors
/// It does not.
pub fn shows_certificate(fleet: &Fleet, host: &str) -> Result<()> {
    let asks = ["ssh-keyscan", "-T", "1", "-c", host];
    eventually(
        PATIENCE,
        "a certificate of the host",
        || matches!(fleet.laptop.run("root", asks), Ok(ran) if ran.stdout.contains("-cert-v01@openssh.com ")),
    )
}
