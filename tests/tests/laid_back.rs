//! The daemon's database of yesterday is laid back: the daemon finds out by its witness, and begins nothing before root's word.
//!
//! In: the staged build and the tree; copies of the database. Out: refusals, what ended stays ended, and after the word all goes on.
//! Threat R25. Runs as: root, in test hosts. Spec: docs/faults.md "A backup is laid back".

use anyhow::{Context, Result, ensure};
use elevate_tests::eventually;
use elevate_tests::fleet::{Fleet, Managed, POLICY};
use elevate_tests::{PATIENCE, Ran};

const ID: [&str; 2] = ["/usr/bin/id", "-u"];
const KEEPERS: &str = r#"
[roles.keepers]
title   = "People, hosts and locks"
who     = ["carol"]
admin   = ["people", "hosts", "locks"]
"#;

fn shell(fleet: &Fleet, script: &str) -> Result<()> {
    fleet.vault.run("root", ["sh", "-euc", script])?.success()?;
    Ok(())
}

/// Copies the database of a daemon that is stopped. Nothing else: what lies beside it is not part of a backup.
fn backup(fleet: &mut Fleet, web1: &Managed) -> Result<()> {
    fleet.kill_daemon()?;
    shell(fleet, "mkdir -p /var/backups/e && cp -a /var/lib/elevated/elevated.db* /var/backups/e")?;
    fleet.start_daemon()?;
    web1.wait_connected(fleet)
}

/// Lays it back, and does something more in the folder.
fn lay_back(fleet: &mut Fleet, more: &str) -> Result<()> {
    fleet.kill_daemon()?;
    shell(fleet, "cd /var/lib/elevated && rm elevated.db* && cp -a /var/backups/e/elevated.db* .")?;
    shell(fleet, more)?;
    fleet.start_daemon()
}

fn activate(web1: &Managed) -> Result<Ran> {
    web1.host.run("alice", ["elevate", "web-quick", "-m", "an ordinary reason"])
}

fn ctl(fleet: &Fleet, words: &[&str]) -> Result<Ran> {
    fleet.vault.run("root", std::iter::once("elevatectl").chain(words.iter().copied()))
}

/// What anybody is told, and what root is told, while nothing is begun.
fn nothing_begins(fleet: &Fleet, web1: &Managed) -> Result<()> {
    let refused = activate(web1)?;
    ensure!(matches!(refused.status.code(), Some(3 | 8)), "{refused:?}");
    let shown = ctl(fleet, &["restore"])?.exits(3)?;
    for part in ["Nothing is issued", "elevatectl restore accept -m TEXT", "confirm-epoch"] {
        ensure!(shown.contains(part), "{part}: {shown}");
    }
    let said = ctl(fleet, &["unlock", "--all", "-m", "let me"])?.exits(3)?;
    ensure!(said.contains("restored from a backup") && said.contains("elevatectl restore"), "{said}");
    ensure!(fleet.events("restore.found")?.len() == 1, "said once");
    Ok(())
}

#[test]
fn r25_a_database_that_is_laid_back_begins_nothing_before_root_accepts_it() -> Result<()> {
    let mut fleet = Fleet::with_policy(&format!("{POLICY}{KEEPERS}"))?;
    let web1 = fleet.managed("web1", &["tier=web"])?;
    let mut carol = fleet.person("carol")?;
    let mut asking = carol.terminal(&["keepers", "-m", "alice starts today"])?;
    asking.expect("Code for carol: start keepers on the daemon")?;
    asking.line(&carol.code()?)?;
    ensure!(asking.wait()?.success(), "{}", asking.screen());
    activate(&web1)?.success()?;
    backup(&mut fleet, &web1)?;
    // Two ends, of which the database that is laid back knows nothing.
    carol.elevate(&["drop"])?.success()?;
    fleet.ctl(&["revoke", "--role", "web-quick", "-m", "no longer needed"])?;
    web1.wait_sudo("alice", &ID, false)?;
    lay_back(&mut fleet, "true")?;
    let log = fleet.daemon.as_ref().context("no daemon")?;
    log.expect("starts nothing", PATIENCE)?;
    nothing_begins(&fleet, &web1)?;
    let looked = fleet.laptop.run("carol", ["elevatectl", "person", "list"])?.exits(3)?;
    ensure!(looked.contains("restored from a backup"), "an ended grant to administer: {looked}");
    // What takes away works, over a restart too.
    fleet.kill_daemon()?;
    fleet.start_daemon()?;
    nothing_begins(&fleet, &web1)?;
    ctl(&fleet, &["lock", "--role", "web-root", "-m", "to be sure"])?.success()?;
    carol.elevate(&["lock", "me"])?.success()?;

    ctl(&fleet, &["restore", "accept", "-m", "the disk was lost"])?.success()?;
    ctl(&fleet, &["restore"])?.success()?;
    ensure!(fleet.events("restore.accepted")?.len() == 1, "recorded");
    ctl(&fleet, &["unlock", "--person", "carol", "-m", "it was a test"])?.success()?;
    let looked = fleet.laptop.run("carol", ["elevatectl", "person", "list"])?.exits(3)?;
    ensure!(looked.contains("no active grant to administer"), "{looked}");
    ensure!(web1.sudo("alice", &ID)?.0 != 0, "revived by a backup");
    eventually(PATIENCE.saturating_mul(3), "the new epoch", || {
        let status = web1.host.run("root", ["elevate-agent", "status"]);
        status.is_ok_and(|status| status.stdout.contains("confirm-epoch 2"))
    })?;
    web1.host.run("root", ["elevate-agent", "confirm-epoch", "2"])?.success()?;
    web1.wait_connected(&fleet)?;
    activate(&web1)?.success()?;
    web1.wait_sudo("alice", &ID, true)
}

/// A machine that burned down: database and keys come back, and nothing beside them.
#[test]
fn r25_a_backup_without_its_witness_begins_nothing_either_and_ends_what_it_gave() -> Result<()> {
    let mut fleet = Fleet::new()?;
    let web1 = fleet.managed("web1", &["tier=web"])?;
    activate(&web1)?.success()?;
    web1.wait_sudo("alice", &ID, true)?;
    backup(&mut fleet, &web1)?;
    lay_back(&mut fleet, "rm /var/lib/elevated/witness")?;
    web1.wait_connected(&fleet)?;
    nothing_begins(&fleet, &web1)?;
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "what runs on a host runs on");
    ctl(&fleet, &["restore", "accept", "-m", "another machine"])?.success()?;
    web1.wait_sudo("alice", &ID, false)?;
    activate(&web1)?.success()?;
    web1.wait_sudo("alice", &ID, true)?;
    // Once accepted it is accepted.
    fleet.kill_daemon()?;
    fleet.start_daemon()?;
    ctl(&fleet, &["restore"])?.success()?;
    Ok(())
}
