//! Another machine comes with an invitation for a host that is there: one administrator's word is not enough (threat H03).
//!
//! In: the staged build and the tree. Out: refusals, then the new machine in the place of the old. Runs as: root, in test hosts.

use anyhow::{Result, ensure};
use elevate_tests::fleet::{Fleet, POLICY, installed_host};
use elevate_tests::{Host, Ran};

const KEEPERS: &str = r#"
[roles.keepers]
title = "Hosts"
who   = ["carol"]
admin = ["hosts"]
"#;

/// A machine with the programs and the accounts, and nothing set up.
fn machine(fleet: &Fleet) -> Result<Host> {
    let host = installed_host(&fleet.lab, "spare1")?;
    host.add_user("elevate-link", 402)?;
    host.run("root", ["install", "-d", "-o", "elevate-link", "-m", "700", "/var/lib/elevate-link"])?
        .success()?;
    Ok(host)
}

fn enrol(host: &Host, paste: &str) -> Result<Ran> {
    host.cmd("root", ["elevate-agent", "enroll", "--yes", "--no-services"]).input(paste).run()
}

#[test]
fn h03_a_machine_takes_the_place_of_a_host_by_two_words_only() -> Result<()> {
    let fleet = Fleet::with_policy(&format!("{POLICY}{KEEPERS}"))?;
    let web1 = fleet.managed("web1", &["tier=web"])?;
    let spare = machine(&fleet)?;
    let mut carol = fleet.person("carol")?;
    let mut asking = carol.terminal(&["keepers", "-m", "web1 was reinstalled"])?;
    asking.expect("Code for carol: start keepers on the daemon")?;
    asking.line(&carol.code()?)?;
    ensure!(asking.wait()?.success(), "{}", asking.screen());

    let invite = ["elevatectl", "host", "invite", "web1", "--label", "tier=web"];
    let invited = fleet.laptop.run("carol", invite)?;
    ensure!(invited.status.success() && invited.stderr.contains("It waits"), "{invited}");
    let refused = enrol(&spare, &invited.stdout)?;
    let said = format!("{}{}", refused.stdout, refused.stderr);
    ensure!(!refused.status.success() && said.contains("waits for a second administrator"), "{refused}");
    ensure!(said.contains("elevatectl host confirm web1 carol"), "{refused}");
    // The host that is there is what it was.
    web1.host.run("alice", ["elevate", "web-quick", "-m", "an ordinary reason"])?.success()?;
    ensure!(fleet.ctl(&["host", "list"])?.contains("to be replaced by carol"), "not in the list");
    let own = fleet.laptop.run("carol", ["elevatectl", "host", "confirm", "web1", "carol"])?.exits(3)?;
    ensure!(own.contains("a second administrator confirms it"), "{own}");

    fleet.ctl(&["host", "confirm", "web1", "carol"])?;
    enrol(&spare, &invited.stdout)?.success()?;
    ensure!(fleet.events("host.enrolled")?.len() == 2, "the new one");
    ensure!(fleet.events("grant.ended")?.len() == 1, "what was in force on the old one is over");
    let waits = fleet.events("change.waits")?;
    ensure!(waits.len() == 1 && waits.iter().all(|event| event["host"] == "web1"), "{waits:?}");
    Ok(())
}
