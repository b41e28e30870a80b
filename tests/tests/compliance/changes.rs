//! One sudo after the other on the same host, an old one, and sudo-rs with a file of its own.

use anyhow::{Context, Result, ensure};
use elevate_tests::fleet::{Fleet, Managed, Sudo, installed_host_with};
use elevate_tests::inside::sudo_rs;
use elevate_tests::{Access, Host, PATIENCE, eventually};

use crate::site::{DROP_IN, ID, POLICY, Site};

/// Puts sudo-rs in the place of the classic sudo, as a package would.
fn replace_by_rs(host: &Host) -> Result<()> {
    let layer = sudo_rs::layer()?;
    host.install(layer.join("usr/sbin/visudo"), "/usr/sbin/visudo", Access::root(0o755))?;
    host.install(layer.join("usr/bin/sudo"), "/usr/bin/sudo", Access::root(0o4755))
}

#[test]
fn another_sudo_is_noticed_and_rules_are_written_for_it() -> Result<()> {
    let site = Site::with(Sudo::Classic)?;
    let host = &site.web1.host;
    site.activate("web-quick")?;
    ensure!(host.read(DROP_IN)?.contains("NOTAFTER="), "the classic sudo's rule");
    let (classic, visudo) = (host.read_bytes("/usr/bin/sudo")?, host.read_bytes("/usr/sbin/visudo")?);
    replace_by_rs(host)?;
    eventually(PATIENCE, "a rule for sudo-rs", || {
        host.read(DROP_IN).is_ok_and(|rules| !rules.contains("NOTAFTER="))
    })?;
    ensure!(site.allowed(&ID)? == "0\n", "the same right by the other sudo");
    eventually(PATIENCE, "the daemon to know", || {
        site.fleet
            .events("host.sudo")
            .is_ok_and(|found| found.iter().any(|event| event.to_string().contains("sudo-rs")))
    })?;
    host.write_as("/usr/sbin/visudo", visudo, Access::root(0o755))?;
    host.write_as("/usr/bin/sudo", classic, Access::root(0o4755))?;
    eventually(PATIENCE, "a rule for the classic sudo", || {
        host.read(DROP_IN).is_ok_and(|rules| rules.contains("NOTAFTER="))
    })?;
    ensure!(site.allowed(&ID)? == "0\n", "and back");
    Ok(())
}

/// A sudo-rs whose sudoedit does not ask the gate. It says so by its version: here by a program that says nothing else, since
/// what matters is what is refused from then on.
#[test]
fn roles_that_an_old_sudo_rs_cannot_be_trusted_with_are_ended_refused_and_not_offered() -> Result<()> {
    let site = Site::with(Sudo::Rs)?;
    let host = &site.web1.host;
    site.activate("web-root")?;
    ensure!(site.allowed(&["/usr/bin/whoami"])? == "root\n");
    host.write_as("/usr/bin/sudo", "#!/bin/sh\necho sudo-rs 0.2.9\n", Access::root(0o4755))?;
    site.web1.wait_end("alice")?;
    eventually(PATIENCE, "the daemon to know", || {
        site.fleet
            .events("host.sudo")
            .is_ok_and(|found| found.iter().any(|event| event.to_string().contains("0.2.9")))
    })?;
    for role in ["web-root", "web-edit"] {
        let said = host.run("alice", ["elevate", role])?.exits(9)?;
        ensure!(said.contains("web1 refuses: sudo-rs 0.2.9 cannot be trusted with"), "{said}");
    }
    let listed = host.run("alice", ["elevate", "list", "--eligible"])?.success()?;
    ensure!(
        !listed.contains("web-root") && !listed.contains("web-edit") && listed.contains("web-quick"),
        "{listed}"
    );
    eventually(PATIENCE, "offers without them", || {
        host.read("/run/elevate/offers.json")
            .is_ok_and(|offers| !offers.contains("web-root") && offers.contains("web-quick"))
    })?;
    let doctor = host.run("root", ["elevate-agent", "doctor"])?;
    for says in ["older than 0.2.10", "sudoedit behind the PAM gate are refused here", "have no NOTAFTER"] {
        ensure!(doctor.stdout.contains(says), "{says}: {doctor}");
    }
    Ok(())
}

/// On sudo-rs the gate is the only thing that ends a right without the agent: no gate, no rules.
#[test]
fn sudo_rs_without_the_gate_enforces_nothing() -> Result<()> {
    let site = Site::with(Sudo::Rs)?;
    let host = &site.web1.host;
    site.activate("web-quick")?;
    let pam = host.read("/etc/pam.d/sudo")?;
    let without = pam
        .lines()
        .filter(|line| !line.contains("pam_elevate"))
        .fold(String::new(), |text, line| text + line + "\n");
    host.write("/etc/pam.d/sudo", without)?;
    site.web1.wait_end("alice")?;
    eventually(PATIENCE, "the daemon to know", || {
        site.fleet
            .events("host.sudo")
            .is_ok_and(|found| found.iter().any(|event| event.to_string().contains("pam.d/sudo")))
    })?;
    site.web1.host.run("alice", ["elevate", "drop", "--all"])?;
    let said = host.run("alice", ["elevate", "web-short"])?.exits(9)?;
    ensure!(said.contains("web1 refuses: /etc/pam.d/sudo"), "{said}");
    Ok(())
}

/// Where there is /etc/sudoers-rs, sudo-rs reads it instead of /etc/sudoers.
#[test]
fn etc_sudoers_rs_gets_our_line_where_it_needs_it_and_is_put_back() -> Result<()> {
    let fleet = Fleet::with_policy(POLICY)?;
    for (name, own, ours) in [
        ("web1", "root ALL=(ALL:ALL) ALL\n", true),
        ("web2", "root ALL=(ALL:ALL) ALL\n@includedir /etc/sudoers.d\n", false),
    ] {
        let host = installed_host_with(&fleet.lab, name, Sudo::Rs)?;
        host.write_as("/etc/sudoers-rs", own, Access::root(0o440))?;
        let web = Managed::enrol(&fleet, host, &["tier=web"])?;
        let text = web.host.read("/etc/sudoers-rs")?;
        ensure!(
            text.starts_with(own) && text.contains("@includedir /run/elevate/sudoers.d") == ours,
            "{text}"
        );
        ensure!(web.host.exists("/etc/sudoers.d/zz-elevate") != ours, "one place");
        web.host.run("alice", ["elevate", "web-quick"])?.success()?;
        ensure!(web.sudo("alice", &ID)?.0 == 0, "{name}: sudo-rs reads the managed rule");
        let doctor = web.host.run("root", ["elevate-agent", "doctor"])?.success().context("doctor")?;
        ensure!(doctor.contains("sudo reads the managed rules"), "{doctor}");
        web.host.run("root", ["elevate-agent", "unenroll", "--no-services"])?.success()?;
        ensure!(web.host.read("/etc/sudoers-rs")? == own, "{name}: as it was");
    }
    Ok(())
}
