//! Locks as an administrator sets them and a person meets them, on real hosts with real sudo.
//!
//! In: the staged build and the tree. Out: each test is one bad day. Runs as: root, in test hosts. Spec: docs/cli.md "Locks".

use anyhow::{Context, Result, ensure};
use elevate_tests::fleet::{Fleet, Managed};
use elevate_tests::{Access, PATIENCE, eventually};
use serde_json::Value;

const ID: [&str; 2] = ["/usr/bin/id", "-u"];

fn quick(host: &Managed, who: &str) -> Result<()> {
    host.host.run(who, ["elevate", "web-quick", "-m", "an ordinary reason"])?.success().map(drop)
}

fn says(said: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(said.contains(word), "{word:?} is missing in: {said}");
    }
    Ok(())
}

#[test]
fn a_stolen_laptop_a_person_is_locked_and_back_after_it() -> Result<()> {
    let mut fleet = Fleet::new()?;
    let web1 = fleet.managed("web1", &["tier=web"])?;
    let rule = "alice ALL=(root) NOPASSWD: /usr/bin/whoami\n";
    web1.host.write_as("/etc/sudoers.d/own", rule, Access::root(0o440))?;
    quick(&web1, "alice")?;
    quick(&web1, "bob")?;
    let said = fleet.ctl(&["lock", "--person", "alice", "--ttl", "10h", "-m", "laptop stolen"])?;
    says(
        &said,
        &["alice is locked until", "(10h)", "Ended: G-", "web-quick for alice", "Confirmed by every host."],
    )?;
    web1.wait_sudo("alice", &ID, false)?;
    ensure!(web1.sudo("bob", &ID)?.0 == 0, "bob is not concerned");
    ensure!(web1.sudo("alice", &["/usr/bin/whoami"])?.0 == 0, "an ordinary rule is not touched");
    for round in ["at once", "after a restart", "after a reload"] {
        match round {
            "after a restart" => {
                fleet.kill_daemon()?;
                fleet.start_daemon()?;
                web1.wait_connected(&fleet)?;
            }
            "after a reload" => drop(fleet.ctl(&["policy", "reload"])?),
            _ => {}
        }
        let said = web1.host.run("alice", ["elevate", "web-quick", "-m", "an ordinary reason"])?.exits(3)?;
        says(
            &said,
            &["alice is locked by uid 0 on the daemon's machine since 20", " until 20", ": laptop stolen"],
        )?;
    }
    let listed: Value = serde_json::from_str(&fleet.ctl(&["locks", "--format", "json"])?)?;
    let first = listed.get("locks").and_then(|locks| locks.get(0)).context("no lock")?;
    ensure!(first.get("name").is_some_and(|name| name == "alice"), "{listed}");
    fleet.ctl(&["unlock", "--person", "alice", "-m", "found again"])?;
    quick(&web1, "alice")?;
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "alice is back");
    let counts =
        ["lock.set", "lock.lifted", "lock.refused"].map(|code| fleet.events(code).map(|all| all.len()));
    let [Ok(1), Ok(1), Ok(3)] = counts else { anyhow::bail!("{counts:?}") };
    Ok(())
}

#[test]
fn a_host_that_is_cut_off_is_said_to_be_until_when_and_hears_of_it_first_thing() -> Result<()> {
    let fleet = Fleet::new()?;
    let mut web1 = fleet.managed("web1", &["tier=web"])?;
    let web2 = fleet.managed("web2", &["tier=web"])?;
    quick(&web1, "alice")?;
    quick(&web2, "alice")?;
    web1.kill_link()?;
    eventually(PATIENCE, "the daemon to miss web1", || {
        fleet.events("host.lost").is_ok_and(|lost| !lost.is_empty())
    })?;
    let ran = fleet
        .vault
        .run("root", ["elevatectl", "lock", "--role", "web-quick", "-m", "wrong commands in it"])?;
    let said = ran.exits(9)?;
    says(&said, &["the role web-quick is locked until it is unlocked", "Ended: G-"])?;
    says(&said, &["Not confirmed: web1 (offline, last seen", "of alice may work there, at most until"])?;
    ensure!(!said.contains("Not confirmed: web2"), "{said}");
    web2.wait_sudo("alice", &ID, false)?;
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "web1 has heard of nothing");
    web1.start_link()?;
    web1.wait_sudo("alice", &ID, false)?;
    // Everything locked: root on the daemon's machine is the only one left, and lifts it.
    fleet.ctl(&["lock", "--all", "-m", "looking at what happened"])?;
    web2.host.run("bob", ["elevate", "web-quick", "-m", "an ordinary reason"])?.exits(3)?;
    fleet.ctl(&["unlock", "--all", "-m", "it was nothing"])?;
    web2.host.run("bob", ["elevate", "web-quick", "-m", "an ordinary reason"])?.exits(3)?;
    fleet.ctl(&["unlock", "--role", "web-quick", "-m", "it was nothing"])?;
    quick(&web2, "bob")
}
