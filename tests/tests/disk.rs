//! Disks that are full or take nothing: rights end and are taken away, nothing new begins, and all goes on by itself afterwards.
//!
//! In: the staged build and the tree. Out: each test is one disk. Runs as: root, in test hosts. Spec: docs/faults.md; threats R05, R06.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use elevate_tests::fleet::{Fleet, Managed, POLICY};
use elevate_tests::{Host, PATIENCE, eventually};

const ID: [&str; 2] = ["/usr/bin/id", "-u"];
/// What the daemon keeps.
const DAEMON: &str = "/var/lib/elevated";
/// What the agent keeps.
const AGENT: &str = "/var/lib/elevate";
/// Where rules are in force.
const RUN: &str = "/run/elevate";
/// Within which everything goes on by itself.
const RECOVERY: Duration = Duration::from_secs(10);

fn sh(host: &Host, script: &str) -> Result<String> {
    host.run("root", ["sh", "-euc", script])?.success()
}

/// Puts a folder on a file system of its own.
fn own_disk(host: &Host, folder: &str, options: &str) -> Result<()> {
    let script = format!(
        "mv {folder} {folder}.before; mkdir {folder}; mount -t tmpfs -o {options} tmpfs {folder}
         chown --reference={folder}.before {folder}; chmod --reference={folder}.before {folder}
         cp -a {folder}.before/. {folder}/"
    );
    sh(host, &script).map(drop)
}

/// Takes the last byte of a disk.
fn fill(host: &Host, folder: &str) -> Result<()> {
    let script = format!(
        "cat /dev/zero > {folder}/ballast 2> /dev/null || true; test \"$(stat -f -c %a {folder})\" = 0"
    );
    sh(host, &script).map(drop)
}

/// What reports of the host met the very end of the room are told again on another connection.
fn fill_below_the_daemon(fleet: &Fleet, web1: &Managed) -> Result<()> {
    fill(&fleet.vault, DAEMON)?;
    web1.wait_connected(fleet)
}

/// Makes what is at a path read-only for everybody who opens something there from now on.
fn read_only(host: &Host, folder: &str) -> Result<()> {
    sh(host, &format!("mount --bind {folder} {folder}; mount -o remount,bind,ro {folder}")).map(drop)
}

fn read_write(host: &Host, folder: &str) -> Result<()> {
    sh(host, &format!("mount -o remount,bind,rw {folder}")).map(drop)
}

fn make_room(host: &Host, folder: &str) -> Result<()> {
    sh(host, &format!("rm {folder}/ballast")).map(drop)
}

/// A fleet in which alice, bob and carol may look at web1.
fn fleet_with_web1() -> Result<(Fleet, Managed)> {
    let three =
        POLICY.replace(r#"web-admins = ["alice", "bob"]"#, r#"web-admins = ["alice", "bob", "carol"]"#);
    ensure!(three != POLICY, "the policy has another group");
    let fleet = Fleet::with_policy(&three)?;
    let web1 = fleet.managed("web1", &["tier=web"])?;
    Ok((fleet, web1))
}

fn asks<'a>(web1: &Managed, login: &str, more: impl IntoIterator<Item = &'a str>) -> Result<String> {
    let asked = ["elevate", "web-quick", "-m", "an ordinary reason"].into_iter().chain(more);
    web1.host.run(login, asked)?.success()
}

/// All three are active; carol for as long only as the rest of a test takes.
fn all_three(web1: &Managed) -> Result<()> {
    for (login, duration) in [("alice", "10m"), ("bob", "10m"), ("carol", "30s")] {
        asks(web1, login, ["-d", duration])?;
        ensure!(web1.sudo(login, &ID)?.0 == 0, "{login}");
    }
    Ok(())
}

/// The daemon's folder gets a disk of its own.
fn small_disk_for_the_daemon(fleet: &mut Fleet, web1: &Managed, options: &str) -> Result<()> {
    fleet.kill_daemon()?;
    own_disk(&fleet.vault, DAEMON, options)?;
    fleet.start_daemon()?;
    web1.wait_connected(fleet)
}

fn log(fleet: &Fleet) -> Result<Vec<String>> {
    let lines = fleet.ctl(&["audit", "tail", "-n", "10000", "--format", "json"])?;
    Ok(lines.lines().map(str::to_owned).collect())
}

/// Everything that was in the log is, and the database is whole.
fn nothing_is_lost(fleet: &mut Fleet, before: &[String]) -> Result<()> {
    let now = log(fleet)?;
    ensure!(now.starts_with(before), "the log says something else than it did");
    fleet.kill_daemon()?;
    // A copy: sqlite3 does not go through the name of another process's root.
    let (from, copy) = (format!("/proc/{}/root{DAEMON}", fleet.vault.pid()?), tempfile::tempdir()?);
    for name in ["elevated.db", "elevated.db-wal"] {
        std::fs::copy(format!("{from}/{name}"), copy.path().join(name))?;
    }
    let database = copy.path().join("elevated.db");
    let checked = Command::new("/usr/bin/sqlite3").arg(database).arg("PRAGMA integrity_check").output()?;
    ensure!(checked.stdout == b"ok\n", "{checked:?}");
    Ok(())
}

#[test]
fn r05_on_a_full_disk_the_daemon_takes_away_and_gives_nothing() -> Result<()> {
    let (mut fleet, web1) = fleet_with_web1()?;
    small_disk_for_the_daemon(&mut fleet, &web1, "size=24m,mode=700")?;
    all_three(&web1)?;
    fill_below_the_daemon(&fleet, &web1)?;

    let asked = ["elevate", "web-root", "-m", "an ordinary reason", "-n"];
    let said = web1.host.run("alice", asked)?.exits(1)?;
    ensure!(said.contains("the disk of the daemon is full (/var/lib/elevated)"), "what, where: {said}");
    ensure!(said.contains("makes room there"), "and what to do: {said}");
    fleet.vault.run("root", ["elevatectl", "host", "invite", "db1"])?.exits(1)?;
    eventually(PATIENCE, "the alert", || fleet.events("store.full").is_ok_and(|events| events.len() == 1))?;

    fleet.ctl(&["revoke", "--person", "alice", "-m", "it is enough"])?;
    web1.wait_sudo("alice", &ID, false)?;
    fleet.ctl(&["lock", "--person", "bob", "-m", "laptop stolen"])?;
    web1.wait_sudo("bob", &ID, false)?;
    web1.wait_end("carol")?;
    eventually(PATIENCE, "all three ends in the log", || {
        fleet.events("grant.ended").is_ok_and(|events| events.len() == 3)
    })?;

    // It is started anew on the full disk, and knows all of it.
    let before = log(&fleet)?;
    fleet.kill_daemon()?;
    fleet.start_daemon()?;
    ensure!(fleet.ctl(&["locks"])?.contains("bob"), "the lock is there");
    web1.wait_connected(&fleet)?;
    web1.host.run("alice", asked)?.exits(1)?;

    make_room(&fleet.vault, DAEMON)?;
    eventually(RECOVERY, "a right as ever", || asks(&web1, "alice", []).is_ok())?;
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "and it is in force");
    eventually(RECOVERY, "the word on it", || fleet.events("store.room").is_ok_and(|all| all.len() == 1))?;
    ensure!(asks(&web1, "bob", ["-n"]).is_err(), "the lock holds");
    nothing_is_lost(&mut fleet, &before)
}

/// The reserve is what it lives on: each change takes a little of it, and there are many in it.
#[test]
fn r05_the_reserve_is_enough_for_hundreds_of_changes() -> Result<()> {
    let (mut fleet, web1) = fleet_with_web1()?;
    small_disk_for_the_daemon(&mut fleet, &web1, "size=24m,mode=700")?;
    all_three(&web1)?;
    fill_below_the_daemon(&fleet, &web1)?;
    let script = "for n in $(seq 100); do elevatectl lock --person bob -m again -q; elevatectl unlock --person bob -m again -q; done";
    fleet.vault.cmd("root", ["sh", "-euc", script]).limit(PATIENCE.saturating_mul(10)).run()?.success()?;
    fleet.ctl(&["revoke", "--person", "alice", "-m", "it is enough"])?;
    web1.wait_sudo("alice", &ID, false)?;
    let before = log(&fleet)?;
    ensure!(before.iter().filter(|line| line.contains("\"lock.set\"")).count() == 100, "each is in the log");
    nothing_is_lost_after_a_start(&mut fleet, &before)
}

fn nothing_is_lost_after_a_start(fleet: &mut Fleet, before: &[String]) -> Result<()> {
    fleet.kill_daemon()?;
    fleet.start_daemon()?;
    nothing_is_lost(fleet, before)
}

#[test]
fn r05_without_an_inode_left_the_daemon_goes_on() -> Result<()> {
    let (mut fleet, web1) = fleet_with_web1()?;
    small_disk_for_the_daemon(&mut fleet, &web1, "size=64m,nr_inodes=64,mode=700")?;
    let script =
        format!("n=0; while touch {DAEMON}/full$n 2> /dev/null; do n=$((n + 1)); done; test $n -gt 5");
    sh(&fleet.vault, &script)?;
    ensure!(sh(&fleet.vault, &format!("touch {DAEMON}/one-more")).is_err(), "there is one left");
    all_three(&web1)?;
    fleet.ctl(&["revoke", "--person", "alice", "-m", "it is enough"])?;
    web1.wait_sudo("alice", &ID, false)?;
    let before = log(&fleet)?;
    nothing_is_lost_after_a_start(&mut fleet, &before)
}

#[test]
fn r05_on_a_full_disk_the_agent_ends_what_is_over_and_taken_away() -> Result<()> {
    let (fleet, mut web1) = fleet_with_web1()?;
    web1.kill_agent()?;
    own_disk(&web1.host, AGENT, "size=8m,mode=700")?;
    web1.start_agent()?;
    web1.wait_connected(&fleet)?;
    all_three(&web1)?;
    // With a second name the files of grants leave no room when they are removed.
    sh(&web1.host, &format!("mkdir {AGENT}/kept; ln {AGENT}/log/*.grant {AGENT}/kept/"))?;
    fill(&web1.host, AGENT)?;

    fleet.ctl(&["revoke", "--person", "alice", "-m", "it is enough"])?;
    web1.wait_sudo("alice", &ID, false)?;
    // The first end is still without its place in the log: the second one waits behind it, and is obeyed.
    fleet.ctl(&["revoke", "--person", "bob", "-m", "it is enough"])?;
    web1.wait_sudo("bob", &ID, false)?;
    web1.wait_end("carol")?;
    let agent = web1.agent.as_mut().context("no agent")?;
    ensure!(agent.is_running(), "and the agent lives");
    ensure!(agent.log().contains("a document waits for its place in the log"), "{}", agent.log());
    // What is new waits, and begins nothing.
    let mut waiting = web1.host.spawn("alice", ["elevate", "web-quick", "-m", "an ordinary reason"])?;
    eventually(PATIENCE, "a grant on its way", || {
        fleet.events("grant.issued").is_ok_and(|events| events.len() == 4)
    })?;
    ensure!(web1.sudo("alice", &ID)?.0 != 0, "nothing begins that is not durable");

    make_room(&web1.host, AGENT)?;
    eventually(RECOVERY, "a right as ever", || web1.sudo("alice", &ID).is_ok_and(|(code, _)| code == 0))?;
    waiting.wait(PATIENCE)?;
    web1.wait_connected(&fleet)?;
    ensure!(web1.sudo("bob", &ID)?.0 != 0 && web1.sudo("carol", &ID)?.0 != 0, "ended is ended");
    eventually(PATIENCE, "the reports, or their loss", || {
        fleet.events("host.ended").is_ok_and(|events| events.len() == 3)
            || fleet.events("host.reports-lost").is_ok_and(|events| !events.is_empty())
    })
}

#[test]
fn r06_on_a_read_only_disk_the_agent_ends_what_is_over_and_taken_away() -> Result<()> {
    let (fleet, mut web1) = fleet_with_web1()?;
    all_three(&web1)?;
    read_only(&web1.host, AGENT)?;
    fleet.ctl(&["revoke", "--person", "alice", "-m", "it is enough"])?;
    web1.wait_sudo("alice", &ID, false)?;
    fleet.ctl(&["revoke", "--person", "bob", "-m", "it is enough"])?;
    web1.wait_sudo("bob", &ID, false)?;
    web1.wait_end("carol")?;
    ensure!(web1.agent.as_mut().context("no agent")?.is_running(), "and the agent lives");
    // One that is started again finds their files, and hears at once that they are over.
    web1.kill_agent()?;
    web1.start_agent()?;
    for login in ["alice", "bob", "carol"] {
        web1.wait_sudo(login, &ID, false)?;
    }
    let asking = web1.host.spawn("alice", ["elevate", "web-quick", "-m", "an ordinary reason"])?;
    eventually(PATIENCE, "a grant on its way", || {
        fleet.events("grant.issued").is_ok_and(|events| events.len() == 4)
    })?;
    ensure!(web1.sudo("alice", &ID)?.0 != 0, "nothing begins that is not durable");
    ensure!(web1.agent.as_mut().context("no agent")?.is_running(), "no crash, and no loop of them");

    read_write(&web1.host, AGENT)?;
    eventually(RECOVERY, "a right as ever", || web1.sudo("alice", &ID).is_ok_and(|(code, _)| code == 0))?;
    drop(asking);
    web1.wait_connected(&fleet)?;
    ensure!(web1.sudo("bob", &ID)?.0 != 0 && web1.sudo("carol", &ID)?.0 != 0, "ended is ended");
    let left = sh(&web1.host, &format!("ls {AGENT}/log"))?;
    ensure!(left.lines().count() == 1, "and their files are gone: {left}");
    Ok(())
}

#[test]
fn r06_with_run_read_only_rights_end_by_the_gate_and_nothing_new_begins() -> Result<()> {
    let (fleet, mut web1) = fleet_with_web1()?;
    asks(&web1, "alice", [])?;
    asks(&web1, "carol", ["-d", "30s"])?;
    ensure!(web1.sudo("alice", &ID)?.0 == 0 && web1.sudo("carol", &ID)?.0 == 0, "both are active");
    read_only(&web1.host, RUN)?;
    ensure!(asks(&web1, "bob", []).is_err(), "what cannot be enforced is not active");
    ensure!(web1.sudo("bob", &ID)?.0 != 0, "nothing new begins");
    // Its rule cannot be removed: an alarm, and the gate ends it in its time.
    fleet.ctl(&["revoke", "--person", "alice", "-m", "it is enough"])?;
    eventually(PATIENCE, "the alarm", || fleet.events("host.tampered").is_ok_and(|all| !all.is_empty()))?;
    web1.wait_sudo("carol", &ID, false)?;
    ensure!(web1.host.exists(format!("{RUN}/sudoers.d/u2002")), "by the gate alone");
    ensure!(web1.sudo("root", &["true"])?.0 == 0, "root's sudo goes on");
    ensure!(web1.agent.as_mut().context("no agent")?.is_running(), "and the agent lives");

    read_write(&web1.host, RUN)?;
    eventually(PATIENCE, "a right as ever", || asks(&web1, "bob", []).is_ok())?;
    ensure!(web1.sudo("bob", &ID)?.0 == 0, "and it is in force");
    web1.wait_end("alice")?;
    web1.wait_end("carol")
}
