//! Door 2 with every kind of key that people have: files, an ssh-agent, RSA, ECDSA; and those that are not taken.
//!
//! In: the staged build and the tree. Out: each test is one way to show a key. Runs as: root, in test hosts.

use anyhow::{Result, ensure};
use elevate_tests::fleet::{Fleet, POLICY};
use elevate_tests::{Host, Ran};

/// Makes a key of alice's on the laptop and moves her usual one away.
fn only_key(laptop: &Host, kind: &[&str], file: &str) -> Result<String> {
    let path = format!("/home/alice/.ssh/{file}");
    let argv = ["ssh-keygen", "-q", "-N", "", "-C", "alice", "-f", &path, "-t"];
    laptop.run("alice", argv.into_iter().chain(kind.iter().copied()))?.success()?;
    laptop.read(format!("{path}.pub"))
}

/// A fleet in whose policy alice has this key and no other.
fn known_by(kind: &[&str], file: &str) -> Result<Fleet> {
    // A key that comes to one that she had waits for a day; her first one does not.
    let keyless = POLICY.replace("alice = { keys = [\"{KEY:alice}\"] }", "alice = {}");
    let fleet = Fleet::with_policy(&keyless)?;
    let paste = fleet.ctl(&["person", "invite", "alice", "-q"])?;
    fleet.laptop.cmd("alice", ["elevate", "login"]).input(paste).run()?.success()?;
    let key = only_key(&fleet.laptop, kind, file)?;
    fleet.write_policy(&POLICY.replace("{KEY:alice}", key.trim()))?;
    fleet.ctl(&["policy", "reload"])?;
    Ok(fleet)
}

fn whoami(fleet: &Fleet, script: &str) -> Result<Ran> {
    fleet.laptop.run("alice", ["sh", "-c", script])
}

#[test]
fn rsa_and_ecdsa_keys_in_the_usual_files_are_taken() -> Result<()> {
    for (kind, file) in [(&["rsa", "-b", "3072"][..], "id_rsa"), (&["ecdsa"], "id_ecdsa")] {
        let fleet = known_by(kind, file)?;
        let said = whoami(&fleet, "elevate whoami")?.success()?;
        ensure!(said.contains("alice"), "{file}: {said}");
    }
    Ok(())
}

#[test]
fn a_key_that_only_the_ssh_agent_holds_is_taken() -> Result<()> {
    for kind in [&["ed25519"][..], &["rsa", "-b", "3072"], &["ecdsa", "-b", "384"]] {
        let fleet = known_by(kind, "held")?;
        let unheld = whoami(&fleet, "elevate whoami")?.exits(3)?;
        ensure!(unheld.contains("SHA256:"), "the keys that were shown are named: {unheld}");
        let script = "ssh-agent sh -c 'ssh-add -q ~/.ssh/held && rm ~/.ssh/held && elevate whoami'";
        let said = whoami(&fleet, script)?.success()?;
        ensure!(said.contains("alice"), "{kind:?}: {said}");
    }
    Ok(())
}

#[test]
fn an_encrypted_key_is_used_through_the_agent_only() -> Result<()> {
    let fleet = known_by(&["ed25519"], "locked")?;
    let lock = "ssh-agent sh -c 'ssh-add -q ~/.ssh/locked; ssh-keygen -q -p -P \"\" -N secret -f ~/.ssh/locked && \
                elevate whoami -i ~/.ssh/locked'";
    let said = whoami(&fleet, lock)?.success()?;
    ensure!(said.contains("alice"), "{said}");
    let said = whoami(&fleet, "elevate whoami -i ~/.ssh/locked")?;
    ensure!(!said.status.success() && said.stderr.contains("ssh-agent"), "{said}");
    Ok(())
}
