//! A daemon that is restored from a backup: no host takes its log for the one it has applied, and the host's root has the last word.
//!
//! In: the staged build and the tree; a copy of the daemon's folder that is laid back. Out: refusals, and what ended meanwhile stays
//! ended. Threats R25, K04. Runs as: root, in test hosts.

use anyhow::{Context, Result, ensure};
use elevate_tests::fleet::{Fleet, Managed, scene};
use elevate_tests::{PATIENCE, eventually};
use serde_json::Value;

const ID: [&str; 2] = ["/usr/bin/id", "-u"];
const LS: [&str; 3] = ["/usr/bin/ls", "-a", "/root"];
const DATA: &str = "/var/lib/elevated";
/// Another right, told from `web-quick` by its command.
const ROLES: &str = r#"
[roles.web-list]
who      = ["alice"]
hosts    = { tier = "web" }
sudo     = { as = "root", run = [["/usr/bin/ls", "-a", "/root"]] }
duration = "10m"
mfa      = "none"
"#;

/// Copies the daemon's folder while nothing writes to it, and starts the daemon anew.
fn backup(fleet: &mut Fleet, web1: &Managed) -> Result<()> {
    fleet.kill_daemon()?;
    fleet.vault.run("root", ["cp", "-a", DATA, "/var/backups/elevated"])?.success()?;
    fleet.start_daemon()?;
    web1.wait_connected(fleet)
}

/// Lays the copy back: everything since then is forgotten.
fn restore(fleet: &mut Fleet) -> Result<()> {
    fleet.kill_daemon()?;
    fleet.vault.run("root", ["rm", "-r", DATA])?.success()?;
    fleet.vault.run("root", ["cp", "-a", "/var/backups/elevated", DATA])?.success()?;
    fleet.start_daemon()
}

/// Waits until the host has heard of the new epoch, and says so to who looks.
fn wait_for_epoch(web1: &Managed) -> Result<()> {
    let told = || {
        let shown = web1.host.run("root", ["elevate-agent", "status"]).ok()?;
        shown.stdout.contains("root says so with: elevate-agent confirm-epoch 2").then_some(())
    };
    eventually(PATIENCE.saturating_mul(3), "the new epoch in the status", || told().is_some())?;
    let looked = web1.host.run("root", ["elevate-agent", "doctor"])?;
    ensure!(looked.status.code() == Some(1), "{looked:?}");
    ensure!(looked.stdout.contains("elevate-agent confirm-epoch 2"), "{}", looked.stdout);
    Ok(())
}

/// The witness was laid back with the rest. The host has shown what this daemon has signed and does not know: nobody gets anything,
/// also on hosts that wait for nobody, until root accepts that.
fn accepted(fleet: &Fleet, web1: &Managed) -> Result<()> {
    let refused = web1.host.run("alice", ["elevate", "web-quick", "-m", "an ordinary reason"])?.exits(3)?;
    ensure!(
        refused.contains("restored from a backup") && refused.contains("elevatectl restore"),
        "{refused}"
    );
    let shown = fleet.vault.run("root", ["elevatectl", "restore"])?.exits(3)?;
    ensure!(shown.contains("web1 has document"), "{shown}");
    fleet.ctl(&["restore", "accept", "-m", "the disk was lost"])?;
    ensure!(fleet.events("restore.found")?.len() == 1, "once");
    Ok(())
}

/// The causes of ended grants, as the daemon's log tells them, oldest first.
fn causes(fleet: &Fleet) -> Result<Vec<String>> {
    let cause = |event: &Value| Some(event.get("details")?.get("cause")?.as_str()?.to_owned());
    fleet.events("grant.ended")?.iter().map(|event| cause(event).context("no cause")).collect()
}

#[test]
fn r25_a_daemon_restored_from_a_backup_gives_nothing_before_the_hosts_root_says_so() -> Result<()> {
    let (mut fleet, web1) = scene(ROLES)?;
    web1.begin("alice", "web-quick")?;
    backup(&mut fleet, &web1)?;
    // Of what comes now the restored daemon will know nothing: an end, and a right that goes on.
    fleet.ctl(&["revoke", "--role", "web-quick", "-m", "no longer needed"])?;
    web1.wait_sudo("alice", &ID, false)?;
    web1.begin("alice", "web-list")?;
    ensure!(web1.sudo("alice", &LS)?.0 == 0, "the other right");
    restore(&mut fleet)?;
    wait_for_epoch(&web1)?;

    // What ended stays ended, what was given goes on, and nothing new comes.
    ensure!(web1.sudo("alice", &ID)?.0 != 0, "revived by a backup");
    ensure!(web1.sudo("alice", &LS)?.0 == 0, "taken away by the daemon's word alone");
    let refused = web1.host.run("alice", ["elevate", "web-quick", "-m", "an ordinary reason"])?;
    ensure!(refused.status.code() == Some(8), "{refused:?}");
    ensure!(causes(&fleet)? == ["restored"], "the daemon takes it for ended too");
    let listed = fleet.ctl(&["host", "list"])?;
    ensure!(listed.contains("waits: confirm-epoch 2"), "{listed}");
    ensure!(fleet.events("host.epoch")?.len() == 1, "said once");
    ensure!(fleet.events("host.epoch-confirmed")?.is_empty(), "root has said nothing");

    // Only this very epoch, only by root.
    ensure!(
        web1.host.run("alice", ["/usr/sbin/elevate-agent", "confirm-epoch", "2"])?.status.code() != Some(0),
        "alice"
    );
    web1.host.run("root", ["elevate-agent", "confirm-epoch", "3"])?.exits(2)?;
    let said = web1.host.run("root", ["elevate-agent", "confirm-epoch", "2"])?;
    ensure!(said.status.success() && said.stderr.contains("epoch 2 has begun"), "{said:?}");
    ensure!(web1.sudo("alice", &LS)?.0 != 0, "the old log is over");
    web1.wait_connected(&fleet)?;
    ensure!(web1.sudo("alice", &ID)?.0 != 0, "revived by the new epoch");
    ensure!(!fleet.ctl(&["host", "list"])?.contains("waits"), "no longer");
    accepted(&fleet, &web1)?;
    web1.begin("alice", "web-quick")?;
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "as before");
    eventually(PATIENCE, "root's word in the log", || {
        fleet.events("host.epoch-confirmed").is_ok_and(|events| events.len() == 1)
    })?;
    // The epoch stays over restarts of both, and its ends are ends.
    fleet.kill_daemon()?;
    fleet.start_daemon()?;
    web1.wait_connected(&fleet)?;
    fleet.ctl(&["revoke", "--role", "web-quick", "-m", "no longer needed"])?;
    web1.wait_sudo("alice", &ID, false)
}

#[test]
fn r25_a_log_that_grew_again_is_told_from_the_one_that_was_applied() -> Result<()> {
    let (mut fleet, mut web1) = scene(ROLES)?;
    let login = fleet.ctl(&["person", "invite", "alice", "-q"])?;
    fleet.laptop.cmd("alice", ["elevate", "login"]).input(login).run()?.success()?;
    web1.begin("alice", "web-quick")?;
    backup(&mut fleet, &web1)?;
    web1.begin("alice", "web-list")?;
    // The host is away when the daemon comes back, and its log grows beyond the place that the host has applied.
    web1.kill_link()?;
    restore(&mut fleet)?;
    fleet.ctl(&["revoke", "--role", "web-quick", "-m", "no longer needed"])?;
    let wanted = ["elevate", "web-list", "-H", "web1", "-m", "an ordinary reason"];
    let asked = fleet.laptop.run("alice", wanted)?;
    ensure!(asked.status.code() == Some(9), "{asked:?}");
    web1.start_link()?;
    wait_for_epoch(&web1)?;
    // Place 2 was taken twice. Nothing of the new log is applied, and nothing of it is taken for applied.
    ensure!(web1.sudo("alice", &ID)?.0 == 0 && web1.sudo("alice", &LS)?.0 == 0, "as before");
    web1.host.run("root", ["elevate-agent", "confirm-epoch", "2"])?.success()?;
    web1.wait_connected(&fleet)?;
    ensure!(web1.sudo("alice", &ID)?.0 != 0 && web1.sudo("alice", &LS)?.0 != 0, "both logs are over");
    let active = fleet.laptop.run("alice", ["elevate", "status", "--format", "json"])?.success()?;
    ensure!(!active.contains("\"active\""), "for the daemon too: {active}");
    accepted(&fleet, &web1)?;
    web1.begin("alice", "web-list")?;
    ensure!(web1.sudo("alice", &LS)?.0 == 0, "a new one");
    Ok(())
}
