//! The layers that end a right, each with all the others off (docs/threats.md "Layers").
//!
//! In: the staged build and the tree. Out: a right that ends by one layer alone. Runs as: root, in test hosts.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use elevate_tests::fleet::{BRIEF, Fleet, Managed, scene, uptime};
use elevate_tests::{Clock, PATIENCE, eventually};
use nix::libc::{SIGCONT, SIGSTOP};
use serde_json::Value;

const ID: [&str; 2] = ["/usr/bin/id", "-u"];
const DROP_IN: &str = "/run/elevate/sudoers.d/u2000";
/// web1 with a clock of its own, on which alice holds the brief right.
fn begun() -> Result<(Fleet, Managed, Clock)> {
    let (fleet, mut web1) = scene(BRIEF)?;
    let clock = web1.own_clock(&fleet)?;
    web1.begin("alice", "web-brief")?;
    Ok((fleet, web1, clock))
}

/// Turns the gate off: a module that lets everybody pass, in the place of ours.
fn without_gate(web1: &Managed) -> Result<()> {
    let script = "cd $(dirname $(find /usr/lib /lib -name pam_elevate.so | head -n 1)) && \
                  cp pam_permit.so pam_elevate.new && mv pam_elevate.new pam_elevate.so";
    web1.host.run("root", ["sh", "-c", script])?.success().map(drop)
}

/// Turns NOTAFTER off: for sudo the end is 8 s later than it is.
fn without_notafter(web1: &Managed, clock: &Clock) -> Result<()> {
    let end = web1.end()?;
    // Not to before the grant's beginning: kernel timestamps keep the machine's time in a test host.
    eventually(PATIENCE, "the last seconds", || uptime().is_some_and(|now| now > end.saturating_sub(5_000)))?;
    clock.turn_back(Duration::from_secs(8))
}

/// What sudo says when it first refuses.
fn refusal(web1: &Managed) -> Result<String> {
    let mut said = String::new();
    eventually(PATIENCE, "the end", || {
        web1.sudo("alice", &ID).is_ok_and(|(code, output)| {
            said = output;
            code != 0
        })
    })?;
    Ok(said)
}

#[test]
fn the_agents_timer_alone_ends_a_right() -> Result<()> {
    let (_fleet, web1, clock) = begun()?;
    without_gate(&web1)?;
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "without the gate");
    let end = web1.end()?;
    without_notafter(&web1, &clock)?;
    eventually(PATIENCE, "the drop-in to go", || !web1.host.exists(DROP_IN))?;
    // THREATS 6.3: at most 5 s late, and not by NOTAFTER, which is 8 s late here.
    let late = uptime().context("no uptime")?.saturating_sub(end);
    ensure!(late < 5_000, "{late} ms late");
    ensure!(web1.sudo("alice", &ID)?.0 != 0, "no rule, no right");
    Ok(())
}

#[test]
fn g01_the_gate_alone_ends_a_right_by_a_clock_that_nobody_sets() -> Result<()> {
    let (_fleet, mut web1, clock) = begun()?;
    web1.kill_agent()?;
    without_notafter(&web1, &clock)?;
    let said = refusal(&web1)?;
    ensure!(said.contains("elevate: grant ended, run it again"), "{said}");
    ensure!(!web1.host.exists(DROP_IN), "the gate has removed the rule");
    Ok(())
}

#[test]
fn notafter_alone_ends_a_right() -> Result<()> {
    let (_fleet, mut web1, _clock) = begun()?;
    web1.kill_agent()?;
    without_gate(&web1)?;
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "without agent and gate");
    let said = refusal(&web1)?;
    ensure!(web1.host.exists(DROP_IN) && !said.contains("elevate:"), "sudo itself: {said}");
    Ok(())
}

#[test]
fn a_reboot_alone_ends_a_right() -> Result<()> {
    let (_fleet, mut web1, _clock) = begun()?;
    without_gate(&web1)?;
    (web1.agent, web1.link) = (None, None);
    web1.host.reboot()?;
    ensure!(web1.sudo("alice", &ID)?.0 != 0 && !web1.host.exists(DROP_IN), "nothing is left on tmpfs");
    Ok(())
}

#[test]
fn the_daemon_raises_the_alarm_for_an_end_that_a_connected_host_does_not_tell_of() -> Result<()> {
    let (fleet, web1, _clock) = begun()?;
    let told = |many: usize| fleet.events("host.ended").is_ok_and(|events| events.len() == many);
    web1.begin("alice", "web-quick")?;
    fleet.ctl(&["revoke", "--role", "web-brief", "-m", "no longer needed"])?;
    eventually(PATIENCE, "an end that is told of", || told(1))?;
    // It hangs: its link lives and keeps the connection, and the gate knows of no end.
    let signal = |number| web1.agent.as_ref().context("no agent")?.signal(number);
    signal(SIGSTOP)?;
    fleet.ctl(&["revoke", "--role", "web-quick", "-m", "no longer needed"])?;
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "otherwise there is nothing to raise an alarm for");
    let alarms = || fleet.events("host.end-missing").unwrap_or_default();
    eventually(PATIENCE.saturating_mul(3), "the alarm", || !alarms().is_empty())?;
    let raised = alarms();
    let about = |field: &str| raised.first().and_then(|event| event.get(field)).and_then(Value::as_str);
    ensure!((about("host"), about("role")) == (Some("web1"), Some("web-quick")), "{raised:?}");
    signal(SIGCONT)?;
    web1.wait_sudo("alice", &ID, false)?;
    eventually(PATIENCE, "the other end", || told(2))?;
    ensure!(alarms().len() == 1, "once, and for this one only");
    Ok(())
}
