//! Plain `ssh`, scp and many at once with the lines of `elevate ssh-config`.
//!
//! In: the staged build and the tree. Out: what people type and what they get. Runs as: root, in test hosts. Spec: docs/ssh.md
//! "Plain ssh".

use std::thread;

use anyhow::{Result, ensure};
use elevate_tests::fleet::{Fleet, Person, ssh_scene};
use elevate_tests::{PATIENCE, Ran, eventually};

/// The lines, before those that alice has.
fn configured(fleet: &Fleet, alice: &Person) -> Result<()> {
    let lines = alice.elevate(&["ssh-config"])?.success()?;
    fleet.laptop.write("/home/alice/.ssh/elevate_config", &lines)?;
    let config = "Include elevate_config\nLogLevel ERROR\n";
    fleet.laptop.write("/home/alice/.ssh/config", config)
}

fn ssh(fleet: &Fleet, words: &[&str]) -> Result<Ran> {
    fleet.laptop.run("alice", [&["ssh"], words].concat())
}

#[test]
fn plain_ssh_uses_the_grant_that_is_there_and_says_what_to_type_without_one() -> Result<()> {
    let (fleet, _web1, _sshd, alice) = ssh_scene()?;
    configured(&fleet, &alice)?;
    let none = ssh(&fleet, &["deploy@web1", "true"])?;
    ensure!(none.status.code() == Some(255) && none.stderr.contains("elevate ssh deploy@web1"), "{none}");
    ensure!(none.stderr.contains("Permission denied (publickey"), "nobody is asked for a password: {none}");
    ensure!(fleet.events("request.created")?.is_empty(), "plain ssh asks for nothing");

    alice.elevate(&["web-in", "-H", "web1", "-m", "an ordinary reason"])?.success()?;
    // With the account, without it, and by what else runs ssh.
    ensure!(ssh(&fleet, &["deploy@web1", "id", "-un"])?.success()?.trim() == "deploy");
    ensure!(ssh(&fleet, &["web1", "id", "-un"])?.success()?.trim() == "deploy");
    fleet.laptop.run("alice", ["scp", "-q", "/etc/hostname", "web1:/tmp/from-laptop"])?.success()?;
    // Another account is none of ours.
    let other = ssh(&fleet, &["-o", "BatchMode=yes", "alice@web1", "true"])?;
    ensure!(!other.status.success() && !other.stderr.contains("elevate"), "{other}");
    ensure!(fleet.events("ssh.certificate")?.len() == 1, "one certificate is enough for them all");
    let modes = "stat -c %a ~/.cache/elevate ~/.cache/elevate/key";
    let modes = fleet.laptop.run("alice", ["sh", "-c", modes])?.success()?;
    ensure!(modes == "700\n600\n", "{modes}");

    alice.elevate(&["drop", "--all"])?.success()?;
    let over = ssh(&fleet, &["web1", "true"])?;
    ensure!(over.stderr.contains("elevate ssh deploy@web1"), "what is dropped is forgotten at once: {over}");
    eventually(
        PATIENCE,
        "the account is closed",
        || matches!(ssh(&fleet, &["web1", "true"]), Ok(ran) if ran.status.code() == Some(255)),
    )
}

#[test]
fn many_at_once_need_one_certificate() -> Result<()> {
    let (fleet, _web1, _sshd, alice) = ssh_scene()?;
    configured(&fleet, &alice)?;
    alice.elevate(&["web-in", "-H", "web1", "-m", "an ordinary reason"])?.success()?;
    // sshd itself refuses more than ten that have not logged in yet (MaxStartups), so only what they ask is asked at once.
    let ready = ["elevate", "ssh-config", "--ready", "/home/alice/.cache/elevate", "deploy", "web1"];
    let all: Vec<Ran> = thread::scope(|scope| {
        let started: Vec<_> = (0..50).map(|_| scope.spawn(|| fleet.laptop.run("alice", ready))).collect();
        started.into_iter().flat_map(|one| one.join()).collect::<Result<_>>()
    })?;
    ensure!(all.len() == 50 && all.iter().all(|ran| ran.status.success()), "{:?}", all.first());
    ensure!(fleet.events("ssh.certificate")?.len() == 1, "one of them asked for all");
    ensure!(ssh(&fleet, &["web1", "id", "-un"])?.success()?.trim() == "deploy");
    Ok(())
}

/// The daemon is away: what is there opens the door as long as it lives, and nothing waits for long.
#[test]
fn without_the_daemon_the_certificate_that_is_there_is_used() -> Result<()> {
    let (mut fleet, _web1, _sshd, alice) = ssh_scene()?;
    configured(&fleet, &alice)?;
    alice.elevate(&["web-in", "-H", "web1", "-m", "an ordinary reason"])?.success()?;
    ssh(&fleet, &["web1", "true"])?.success()?;
    drop(fleet.daemon.take());
    // As if the daemon had been asked long ago.
    fleet.laptop.run("alice", ["sh", "-c", "touch -d '2 minutes ago' ~/.cache/elevate/*.json"])?.success()?;
    ensure!(ssh(&fleet, &["web1", "id", "-un"])?.success()?.trim() == "deploy");
    fleet.laptop.run("alice", ["sh", "-c", "rm ~/.cache/elevate/*.json"])?.success()?;
    let away = ssh(&fleet, &["web1", "true"])?;
    ensure!(away.status.code() == Some(255) && away.stderr.contains("error:"), "{away}");
    Ok(())
}
