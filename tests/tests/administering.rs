//! Administration from a laptop, under a grant; and a person who lost the laptop.
//!
//! In: the staged build and the tree. Out: each test is one story. Runs as: root, in test hosts. Spec: docs/policy.md "admin".

use anyhow::{Context, Result, ensure};
use elevate_tests::Ran;
use elevate_tests::fleet::{Fleet, POLICY};

const KEEPERS: &str = r#"
[roles.keepers]
title   = "People, hosts and locks"
who     = ["carol"]
admin   = ["people", "hosts", "locks"]
approve = [{ need = 1, of = ["bob"], within = "1h" }]
"#;

/// `elevatectl` as somebody on the laptop.
fn ctl(fleet: &Fleet, who: &str, args: &[&str]) -> Result<Ran> {
    fleet.laptop.run(who, std::iter::once("elevatectl").chain(args.iter().copied()))
}

#[test]
fn c01_an_administrator_works_from_the_laptop_under_a_grant_and_never_about_herself() -> Result<()> {
    let fleet = Fleet::with_policy(&format!("{POLICY}{KEEPERS}"))?;
    let web1 = fleet.managed("web1", &["tier=web"])?;
    let (mut bob, mut carol) = (fleet.person("bob")?, fleet.person("carol")?);
    let said = ctl(&fleet, "carol", &["person", "list"])?.exits(3)?;
    ensure!(
        said.contains("no active grant to administer people") && said.contains("elevate keepers"),
        "{said}"
    );
    let mut asking = carol.terminal(&["keepers", "-m", "alice starts today"])?;
    asking.expect("Code for carol: start keepers on the daemon")?;
    asking.line(&carol.code()?)?;
    bob.approve_from("carol")?;
    let status = asking.wait()?;
    ensure!(status.success() && asking.screen().contains("active on the daemon"), "{}", asking.screen());

    let paste = ctl(&fleet, "carol", &["person", "invite", "alice", "-q"])?.success()?;
    ensure!(paste.starts_with("elevate1,person,"), "{paste}");
    ctl(&fleet, "carol", &["host", "list"])?.success()?;
    web1.host.run("alice", ["elevate", "web-quick", "-m", "an ordinary reason"])?.success()?;
    let said = ctl(&fleet, "carol", &["lock", "--person", "alice", "-m", "laptop stolen"])?.success()?;
    ensure!(said.contains("Ended: G-"), "{said}");
    web1.wait_sudo("alice", &["/usr/bin/id", "-u"], false)?;
    // Not this part, not herself, not through a host, not somebody else by her grant.
    ctl(&fleet, "carol", &["audit", "tail"])?.exits(3)?;
    let said = ctl(&fleet, "carol", &["person", "invite", "carol"])?.exits(3)?;
    ensure!(said.contains("nobody administers their own person"), "{said}");
    ctl(&fleet, "bob", &["person", "list"])?.exits(3)?;
    ctl(&fleet, "carol", &["unlock", "--person", "alice", "-m", "found again"])?.success()?;
    carol.elevate(&["drop"])?.success()?;
    ctl(&fleet, "carol", &["person", "list"])?.exits(3)?;

    let used = fleet.events("admin.used")?;
    let by_carol =
        |event: &&serde_json::Value| event["actor"]["person"] == "carol" && event["door"]["key"].is_object();
    ensure!(used.iter().filter(by_carol).count() == 4, "{used:?}");
    ensure!(fleet.events("admin.refused")?.len() == 5, "each refusal is an event");
    ensure!(
        fleet.events("admin.granted")?.len() == 1 && fleet.events("grant.issued")?.len() == 1,
        "no host heard"
    );
    Ok(())
}

#[test]
fn d11_a_recovery_code_locks_from_a_host_where_the_laptop_was() -> Result<()> {
    let fleet = Fleet::new()?;
    let web1 = fleet.managed("web1", &["tier=web"])?;
    let mut alice = fleet.person("alice")?;
    let screen = alice.elevate_with_code(&["mfa", "recovery"])?;
    let is_code =
        |word: &&str| word.len() == 14 && word.split('-').filter(|part| part.len() == 4).count() == 3;
    let codes: Vec<&str> = screen.split_whitespace().filter(is_code).collect();
    ensure!(codes.len() == 10, "ten codes: {screen}");
    web1.host.run("alice", ["elevate", "web-quick", "-m", "an ordinary reason"])?.success()?;
    // Without a terminal nobody is asked for a code, and without one nothing is locked.
    web1.host.run("alice", ["elevate", "lock", "me"])?.exits(6)?;
    let mut locking = web1.terminal("alice", &["lock", "me", "-m", "laptop gone"])?;
    locking.expect("Code for alice: lock alice everywhere")?;
    locking.line(codes.first().context("no code")?)?;
    let status = locking.wait()?;
    ensure!(status.success(), "{}", locking.screen());
    // The name before it is in another tone.
    ensure!(locking.screen().contains(" is locked until it is unlocked"), "{}", locking.screen());
    web1.wait_sudo("alice", &["/usr/bin/id", "-u"], false)?;
    alice.elevate(&["web-quick", "-H", "web1", "-m", "an ordinary reason"])?.exits(3)?;
    ensure!(fleet.events("recovery.used")?.len() == 1, "told");
    fleet.ctl(&["unlock", "--person", "alice", "-m", "found again"])?;
    // Through the own key it takes no code.
    alice.elevate(&["lock", "me"])?.success()?;
    Ok(())
}
