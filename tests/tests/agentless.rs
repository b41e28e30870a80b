//! Certificates on a machine without agent: a stock sshd that was given what `elevatectl ssh export` writes, and nothing else of ours.
//!
//! In: the staged build and the tree. Out: who logs in there, and until when. Runs as: root, in test hosts. Threats E01, X-l, X-n; docs/ssh.md.

use anyhow::{Context, Result, ensure};
use elevate_tests::fleet::{Fleet, Managed, POLICY, Person, WEB_IN, installed_host};
use elevate_tests::{Host, PATIENCE, Running, eventually};

/// Beside web-in, whose certificates are for hosts alone.
const OLD_IN: &str = r#"
[roles.old-in]
who = ["alice"]
hosts = { tier = "web" }
ssh = { logins = ["deploy"], agentless = true }
mfa = "none"
"#;
const NAMES: [&str; 3] = ["elevate_revoked", "elevate_user_ca", "30-elevate-agentless.conf"];

/// A daemon, a host that grants are about, and a machine that knows nothing of both.
struct Scene {
    fleet: Fleet,
    web1: Managed,
    alice: Person,
    old1: Host,
    _sshds: [Running; 2],
}

impl Scene {
    fn new() -> Result<Self> {
        let fleet = Fleet::with_policy(&format!("{POLICY}{WEB_IN}{OLD_IN}"))?;
        let (host, old1) = (installed_host(&fleet.lab, "web1")?, fleet.lab.host("old1")?);
        for machine in [&host, &old1] {
            machine.add_user("deploy", 2100)?;
        }
        let sshds = [host.sshd()?, old1.sshd()?];
        let web1 = Managed::enrol(&fleet, host, &["tier=web"])?;
        let alice = fleet.person("alice")?;
        fleet
            .laptop
            .write("/home/alice/.ssh/config", "StrictHostKeyChecking accept-new\nLogLevel ERROR\n")?;
        Ok(Self { fleet, web1, alice, old1, _sshds: sshds })
    }

    /// Exports, and carries the files to the machine as the lines say.
    fn carry(&self) -> Result<String> {
        let said = self.fleet.ctl(&["ssh", "export", "-o", "/root/export"])?;
        for name in NAMES {
            let (folder, bytes) = (
                if name.ends_with(".conf") { "/etc/ssh/sshd_config.d" } else { "/etc/ssh" },
                self.fleet.vault.read_bytes(format!("/root/export/{name}"))?,
            );
            self.old1.write("/etc/ssh/new", bytes)?;
            self.old1.run("root", ["mv", "/etc/ssh/new", &format!("{folder}/{name}")])?.success()?;
        }
        self.old1.run("root", ["/usr/sbin/sshd", "-t"])?.success()?;
        Ok(said)
    }

    fn version(&self) -> Result<u64> {
        let listed =
            self.old1.run("root", ["ssh-keygen", "-Q", "-l", "-f", "/etc/ssh/elevate_revoked"])?.success()?;
        listed
            .lines()
            .find_map(|line| line.strip_prefix("# KRL version "))
            .context("no version")?
            .parse()
            .context("no number")
    }

    /// A grant of a role, and a certificate under it: its key.
    fn certificate(&self, role: &str, options: &[&str]) -> Result<String> {
        let key = format!("/home/alice/{role}{}", options.len());
        self.alice.elevate(&[&["cert", role, "-o", &key], options].concat())?.success()?;
        Ok(key)
    }

    fn opens(&self, key: &str, login: &str, machine: &str) -> Result<bool> {
        let to = format!("{login}@{machine}");
        let ssh = ["ssh", "-i", key, "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", &to, "id", "-un"];
        let ran = self.fleet.laptop.run("alice", ssh)?;
        let refused = ran.stderr.contains("Permission denied (publickey");
        ensure!(refused || ran.stdout.trim() == login, "{ran}");
        Ok(!refused)
    }
}

#[test]
fn x_l_a_machine_without_agent_lets_in_who_the_role_says_until_the_list_says_otherwise() -> Result<()> {
    let scene = Scene::new()?;
    let said = scene.carry()?;
    ensure!(NAMES.iter().all(|name| said.contains(name)) && said.contains("0 grants"), "{said}");
    let first = scene.version()?;
    scene.old1.run("root", ["sh", "-c", "kill -HUP $(cat /run/sshd.pid)"])?.success()?;
    for role in ["old-in", "web-in"] {
        scene.alice.elevate(&[role, "-H", "web1", "-m", "an ordinary reason"])?.success()?;
    }
    let (accounts, plain, other) = (
        scene.certificate("old-in", &["--agentless"])?,
        scene.certificate("old-in", &[])?,
        scene.certificate("web-in", &[])?,
    );
    eventually(PATIENCE, "sshd has read its files", || {
        matches!(scene.opens(&accounts, "deploy", "old1"), Ok(true))
    })?;
    // Only what names the account opens it, there alone, and no other account.
    ensure!(
        !scene.opens(&plain, "deploy", "old1")? && !scene.opens(&other, "deploy", "old1")?,
        "no account is named"
    );
    ensure!(
        !scene.opens(&accounts, "root", "old1")? && !scene.opens(&accounts, "deploy", "web1")?,
        "not this one"
    );
    ensure!(
        scene.opens(&plain, "deploy", "web1")? && scene.opens(&other, "deploy", "web1")?,
        "hosts are as ever"
    );
    let refused =
        scene.alice.elevate(&["cert", "web-in", "-o", "/home/alice/no", "--agentless"])?.exits(3)?;
    ensure!(refused.contains("web-in has no certificates for machines without agent"), "{refused}");
    // It is recorded as others are.
    let issued = scene.fleet.events("ssh.certificate")?;
    let principals: Vec<&serde_json::Value> =
        issued.iter().map(|event| &event["details"]["principals"]).collect();
    ensure!(principals.len() == 3 && *principals[0] == serde_json::json!(["deploy"]), "{principals:?}");
    // The end is known there once the next list is.
    scene.alice.elevate(&["drop", "--all"])?.success()?;
    ensure!(scene.opens(&accounts, "deploy", "old1")?, "nobody has told it");
    let said = scene.carry()?;
    ensure!(said.contains("2 grants") && scene.version()? > first, "{said}");
    ensure!(!scene.opens(&accounts, "deploy", "old1")?, "it is over");
    let again = scene.version()?;
    scene.carry()?;
    ensure!(scene.version()? == again, "the same again is the same");
    // The export does not belong on a host with agent, which says so.
    let lines = "/etc/ssh/sshd_config.d/30-elevate-agentless.conf";
    scene.web1.host.write(lines, scene.old1.read(lines)?)?;
    let doctor =
        || -> Result<String> { Ok(scene.web1.host.run("root", ["elevate-agent", "doctor"])?.stdout) };
    ensure!(doctor()?.contains("30-elevate-agentless.conf:4: `trustedusercakeys"), "{}", doctor()?);
    Ok(())
}
