//! Hosts that are cut off: leases, what people are told, and what happens first when they are back.
//!
//! In: the staged build and the tree. Out: rights that end without anybody's word. Runs as: root, in test hosts.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use elevate_tests::fleet::{BRIEF, Fleet, Managed, scene};
use elevate_tests::{PATIENCE, eventually};
use serde_json::Value;

const ID: [&str; 2] = ["/usr/bin/id", "-u"];
const DEADLINES: &str = "/run/elevate/deadlines.json";
/// A right with a lease.
const LEASE: &str = r#"
[roles.web-lease]
who      = ["alice"]
hosts    = { tier = "web" }
sudo     = { as = "root", run = [["/usr/bin/id", "-u"]] }
duration = "10m"
mfa      = "none"
offline  = "lease 10s"
"#;

/// The last proven contact of a host, in milliseconds since its boot.
fn contact(host: &Managed) -> Option<u64> {
    let text = host.host.read(DEADLINES).ok()?;
    serde_json::from_str::<Value>(&text).ok()?.get("contact")?.as_u64()
}

/// The details of the newest event with this code on a host.
fn newest(fleet: &Fleet, code: &str, host: &str) -> Option<Value> {
    let events = fleet.events(code).ok()?;
    let of_host = events.into_iter().rfind(|event| event.get("host").is_some_and(|name| name == host))?;
    of_host.get("details").cloned()
}

#[test]
fn a_lease_holds_while_the_daemon_answers_and_ends_when_it_is_gone() -> Result<()> {
    let (mut fleet, web1) = scene(LEASE)?;
    web1.begin("alice", "web-lease")?;
    let first = contact(&web1).context("no contact is known")?;
    eventually(PATIENCE.saturating_mul(3), "two leases of contact", || {
        contact(&web1) > Some(first.saturating_add(20_000))
    })?;
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "renewed by contact alone");

    fleet.kill_daemon()?;
    let said = eventually_said(&web1)?;
    ensure!(
        said.contains("no contact with the daemon since ") && said.contains("New grants: not now"),
        "{said}"
    );
    ensure!(said.contains(" works until ") && said.contains("(lease)"), "{said}");
    web1.wait_end("alice")?;
    ensure!(web1.sudo("alice", &ID)?.0 != 0, "the lease is over");
    let said = web1.host.run("alice", ["elevate", "status"])?.exits(8)?;
    ensure!(!said.contains("works until"), "{said}");

    fleet.start_daemon()?;
    web1.wait_connected(&fleet)?;
    let ended =
        || newest(&fleet, "host.ended", "web1").is_some_and(|details| details["cause"] == "no-contact");
    eventually(PATIENCE, "the end, reported", ended)?;
    eventually(PATIENCE, "the grant to be over for the daemon", || {
        newest(&fleet, "grant.ended", "web1").is_some_and(|details| details["cause"] == "no-contact")
    })?;
    ensure!(web1.sudo("alice", &ID)?.0 != 0, "a lease that is over does not come back");
    let said = web1.host.run("alice", ["elevate", "list", "--expired"])?.success()?;
    ensure!(said.contains("ended"), "{said}");
    web1.begin("alice", "web-lease").map(drop)
}

/// What `elevate` says on a host once its link has noticed that the daemon is gone.
fn eventually_said(web1: &Managed) -> Result<String> {
    let mut said = String::new();
    eventually(PATIENCE, "the host to notice", || {
        let ran = web1.host.run("alice", ["elevate", "status"]);
        said = ran.and_then(|ran| ran.exits(8)).unwrap_or_default();
        said.contains("no contact")
    })?;
    Ok(said)
}

#[test]
fn f08_a_lease_ends_with_the_agent_dead_by_the_gate_alone() -> Result<()> {
    let (_fleet, mut web1) = scene(LEASE)?;
    web1.begin("alice", "web-lease")?;
    web1.kill_agent()?;
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "the lease still runs");
    let mut said = String::new();
    eventually(PATIENCE, "the gate to close", || {
        web1.sudo("alice", &ID).is_ok_and(|(code, output)| {
            said = output;
            code != 0
        })
    })?;
    ensure!(said.contains("no contact with the daemon for longer than the lease"), "{said}");
    ensure!(!web1.host.exists("/run/elevate/sudoers.d/u2000"), "the gate has removed the rule");
    Ok(())
}

#[test]
fn a_shell_as_root_has_a_lease_and_a_command_has_none_where_nobody_says() -> Result<()> {
    let (fleet, _web1) = scene(LEASE)?;
    let shown = fleet.ctl(&["policy", "show", "--effective"])?;
    let of = |role: &str| {
        shown.split(&format!("[roles.{role}]")).nth(1).and_then(|rest| rest.split("[roles").next())
    };
    ensure!(of("web-root").is_some_and(|role| role.contains("offline = \"lease 5m\"")), "{shown}");
    ensure!(of("web-quick").is_some_and(|role| role.contains("offline = \"to-end\"")), "{shown}");
    Ok(())
}

#[test]
fn grants_and_ends_are_the_first_thing_that_hosts_get_when_they_are_back() -> Result<()> {
    let (fleet, web1) = scene(LEASE)?;
    let alice = fleet.person("alice")?;
    let mut away = [fleet.managed("web2", &["tier=web"])?, fleet.managed("web3", &["tier=web"])?];
    // They have said which accounts they have, before they go.
    alice.elevate(&["web-quick", "-H", "web2", "-H", "web3", "-m", "before the cut"])?.success()?;
    alice.elevate(&["drop"])?.success()?;
    for host in &mut away {
        host.kill_link()?;
    }
    let offline = || fleet.ctl(&["host", "list"]).is_ok_and(|listed| listed.matches("offline").count() == 2);
    eventually(PATIENCE, "two hosts offline", offline)?;
    let three = ["web-quick", "-H", "web1", "-H", "web2", "-H", "web3", "-m", "an ordinary reason"];
    let said = alice.elevate(&three)?.success()?;
    ensure!(said.contains("active on web1; web2 offline, pending; web3 offline, pending"), "{said}");
    let said = alice.elevate(&["status"])?.success()?;
    ensure!(said.contains("web2 offline since ") && said.contains("web3 offline since "), "{said}");
    let allowed = |host: &Managed| host.sudo("alice", &ID).is_ok_and(|(code, _)| code == 0);
    ensure!(allowed(&web1) && !away.iter().any(allowed), "one of three");
    for host in &mut away {
        host.start_link()?;
        host.wait_connected(&fleet)?;
        ensure!(allowed(host), "the grant came before anything else");
        host.kill_link()?;
    }
    eventually(PATIENCE, "two hosts offline", offline)?;
    fleet.ctl(&["revoke", "--role", "web-quick", "-m", "the work is done"])?;
    web1.wait_sudo("alice", &ID, false)?;
    for host in &mut away {
        ensure!(allowed(host), "nobody told {} yet", host.host.name());
        host.start_link()?;
        host.wait_connected(&fleet)?;
        ensure!(!allowed(host), "the end came before anything else");
    }
    // None of the hosts is there: said so, and no success.
    for host in &mut away {
        host.kill_link()?;
    }
    eventually(PATIENCE, "two hosts offline", offline)?;
    let said = alice.elevate(&["web-quick", "-H", "web2", "-m", "an ordinary reason"])?.exits(9)?;
    ensure!(said.contains("active on no host yet; web2 offline, pending"), "{said}");
    Ok(())
}

#[test]
fn g01_g03_g04_a_clock_that_is_set_is_an_event_and_bars_new_grants() -> Result<()> {
    let (fleet, mut web1) = scene(BRIEF)?;
    let clock = web1.own_clock(&fleet)?;
    web1.begin("alice", "web-quick")?;
    let hour = Duration::from_secs(3600);
    let stepped = |by: i64| {
        newest(&fleet, "host.clock-step", "web1")
            .and_then(|details| details["by"].as_i64())
            .is_some_and(|found| found.abs_diff(by) <= 2)
    };
    clock.turn_back(hour)?;
    eventually(PATIENCE, "the step back", || stepped(-3600))?;
    eventually(PATIENCE.saturating_mul(2), "the difference, while connected", || {
        newest(&fleet, "host.clock-skew", "web1").is_some()
    })?;
    ensure!(
        !web1.host.exists("/run/elevate/sudoers.d/u2000") || web1.sudo("alice", &ID)?.0 != 0,
        "not yet valid"
    );
    let refused =
        web1.host.run("alice", ["elevate", "web-brief", "-m", "an ordinary reason", "-n"])?.exits(9)?;
    ensure!(refused.contains("clock"), "{refused}");
    clock.advance(hour)?;
    eventually(PATIENCE, "the step ahead", || stepped(3600))?;
    web1.wait_sudo("alice", &ID, true)?;
    // A day ahead: everything ends early, nothing late.
    clock.advance(hour.saturating_mul(24))?;
    web1.wait_end("alice")
}
