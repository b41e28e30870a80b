//! Door 2 with FIDO keys, which an ssh-agent of OpenSSH's holds and a software security key signs for.
//!
//! In: the staged build, the tree, sk-dummy.so. Out: each test is one way such a key is or is not taken. Runs as: root, in test hosts.
//! Spec: docs/cli.md "Daemons"; PROTOCOL.u2f of OpenSSH.

use anyhow::{Context, Result, ensure};
use elevate_tests::fleet::{Fleet, POLICY};
use elevate_tests::{Access, Ran, places};

/// Below a folder that ssh-agent(1) takes providers from.
const PROVIDER: &str = "/usr/lib/openssh/sk-dummy.so";

/// A fleet in which alice has a security key with a key of this kind on it and no other; its public half.
fn with_security_key(options: &[&str]) -> Result<(Fleet, String)> {
    // A key that comes to one that she had waits for a day; her first one does not.
    let fleet = Fleet::with_policy(&POLICY.replace("alice = { keys = [\"{KEY:alice}\"] }", "alice = {}"))?;
    fleet.laptop.install(places::security_key()?, PROVIDER, Access::root(0o644))?;
    let paste = fleet.ctl(&["person", "invite", "alice", "-q"])?;
    fleet.laptop.cmd("alice", ["elevate", "login"]).input(paste).run()?.success()?;
    fleet.laptop.run("alice", ["mv", "/home/alice/.ssh/id_ed25519", "/home/alice/old"])?.success()?;
    let made = ["ssh-keygen", "-q", "-N", "", "-C", "alice", "-w", PROVIDER, "-f", "/home/alice/.ssh/token"];
    fleet.laptop.run("alice", made.into_iter().chain(options.iter().copied()))?.success()?;
    let public = fleet.laptop.read("/home/alice/.ssh/token.pub")?.trim().to_owned();
    Ok((fleet, public))
}

fn know(fleet: &Fleet, key: &str) -> Result<()> {
    fleet.write_policy(&POLICY.replace("{KEY:alice}", key))?;
    fleet.ctl(&["policy", "reload"]).map(drop)
}

/// `elevate whoami` beside an agent that holds the security key's key.
fn whoami(fleet: &Fleet) -> Result<Ran> {
    let script = format!("ssh-agent sh -c 'ssh-add -q -S {PROVIDER} ~/.ssh/token && elevate whoami'");
    fleet.laptop.run("alice", ["sh", "-c", script.as_str()])
}

#[test]
fn a_person_logs_in_with_a_security_key_that_the_ssh_agent_speaks_for() -> Result<()> {
    for kind in ["ed25519-sk", "ecdsa-sk"] {
        let (fleet, key) = with_security_key(&["-t", kind])?;
        ensure!(key.starts_with("sk-"), "{key}");
        know(&fleet, &key)?;
        let said = whoami(&fleet)?.success()?;
        ensure!(said.contains("alice"), "{kind}: {said}");
        // The file alone is a handle: without the agent, and so without the token, it signs nothing.
        let said = fleet.laptop.run("alice", ["elevate", "whoami", "-i", "/home/alice/.ssh/token"])?;
        ensure!(!said.status.success() && said.stderr.contains("on a token"), "{kind}: {said}");
    }
    Ok(())
}

// The key's application is part of the key: the same point under another name is somebody else's.
#[test]
fn a_security_key_under_another_application_is_another_key() -> Result<()> {
    let (fleet, key) = with_security_key(&["-t", "ed25519-sk"])?;
    // The blob ends in the text "ssh:"; its last two letters are the last group of the base64.
    let other = key.replacen("aDo= ", "aCE= ", 1);
    ensure!(other != key, "{key}");
    know(&fleet, &other)?;
    let said = whoami(&fleet)?.exits(3)?;
    ensure!(said.contains("SHA256:"), "the key that was shown is named: {said}");
    let (fleet, key) = with_security_key(&["-t", "ed25519-sk", "-O", "application=ssh:elevate"])?;
    know(&fleet, &key)?;
    ensure!(whoami(&fleet)?.success()?.contains("alice"));
    Ok(())
}

// What a login with a security key proves is the key, not the touch: docs/cli.md says so, and the code asks for more.
#[test]
fn a_key_that_asks_for_no_touch_is_taken_like_any_other_and_the_factor_is_asked_all_the_same() -> Result<()> {
    let (fleet, key) = with_security_key(&["-t", "ed25519-sk", "-O", "no-touch-required"])?;
    know(&fleet, &key)?;
    ensure!(whoami(&fleet)?.success()?.contains("alice"));
    let script = format!("ssh-agent sh -c 'ssh-add -q -S {PROVIDER} ~/.ssh/token && elevate mfa test'");
    let said = fleet.laptop.run("alice", ["sh", "-c", script.as_str()])?.exits(6)?;
    ensure!(said.contains("second factor"), "{said}");
    let events = fleet.events("factor.enrolled")?;
    ensure!(events.is_empty(), "{}", events.first().context("none")?);
    Ok(())
}
