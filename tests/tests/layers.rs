//! The layers that end a right, each with all the others off (docs/threats.md "Layers").
//!
//! In: the staged build and the tree. Out: a right that ends by one layer alone. Runs as: root, in test hosts.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use elevate_tests::fleet::{Fleet, Managed, POLICY};
use elevate_tests::{Clock, PATIENCE, eventually};
use nix::libc::{SIGCONT, SIGSTOP};
use serde_json::Value;

const ID: [&str; 2] = ["/usr/bin/id", "-u"];
const DROP_IN: &str = "/run/elevate/sudoers.d/u2000";
/// A right that ends soon and is not asked about.
const BRIEF: &str = r#"
[roles.web-brief]
who      = ["alice"]
hosts    = { tier = "web" }
sudo     = { as = "root", run = [["/usr/bin/id", "-u"]] }
duration = "15s"
mfa      = "none"
warn     = []
"#;

/// web1 with a clock of its own, on which alice holds the brief right.
fn scene() -> Result<(Fleet, Managed, Clock)> {
    let fleet = Fleet::with_policy(&format!("{POLICY}{BRIEF}"))?;
    let mut web1 = fleet.managed("web1", &["tier=web"])?;
    (web1.agent, web1.link) = (None, None);
    let clock = web1.host.clock()?;
    web1.start_agent()?;
    web1.start_link()?;
    web1.wait_connected(&fleet)?;
    web1.host.run("alice", ["elevate", "web-brief", "-m", "an ordinary reason"])?.success()?;
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
    let end = end(web1).context("no end is known")?;
    // Not to before the grant's beginning: kernel timestamps keep the machine's time in a test host.
    eventually(PATIENCE, "the last seconds", || uptime().is_some_and(|now| now > end.saturating_sub(5_000)))?;
    clock.turn_back(Duration::from_secs(8))
}

/// The end of the one grant, in milliseconds since the boot.
fn end(web1: &Managed) -> Option<u64> {
    let text = web1.host.read("/run/elevate/deadlines.json").ok()?;
    let ends = serde_json::from_str::<Value>(&text).ok()?.get("ends")?.as_object()?.clone();
    ends.into_iter().next()?.1.as_u64()
}

/// CLOCK_BOOTTIME in milliseconds: the same in every test host.
fn uptime() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    let (seconds, rest) = text.split_once('.')?;
    let hundredths: u64 = rest.split(' ').next()?.parse().ok()?;
    Some(seconds.parse::<u64>().ok()?.saturating_mul(1000).saturating_add(hundredths.saturating_mul(10)))
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
    let (_fleet, web1, clock) = scene()?;
    without_gate(&web1)?;
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "without the gate");
    let end = end(&web1).context("no end is known")?;
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
    let (_fleet, mut web1, clock) = scene()?;
    web1.kill_agent()?;
    without_notafter(&web1, &clock)?;
    let said = refusal(&web1)?;
    ensure!(said.contains("elevate: grant ended, run it again"), "{said}");
    ensure!(!web1.host.exists(DROP_IN), "the gate has removed the rule");
    Ok(())
}

#[test]
fn notafter_alone_ends_a_right() -> Result<()> {
    let (_fleet, mut web1, _clock) = scene()?;
    web1.kill_agent()?;
    without_gate(&web1)?;
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "without agent and gate");
    let said = refusal(&web1)?;
    ensure!(web1.host.exists(DROP_IN) && !said.contains("elevate:"), "sudo itself: {said}");
    Ok(())
}

#[test]
fn a_reboot_alone_ends_a_right() -> Result<()> {
    let (_fleet, mut web1, _clock) = scene()?;
    without_gate(&web1)?;
    (web1.agent, web1.link) = (None, None);
    web1.host.reboot()?;
    ensure!(web1.sudo("alice", &ID)?.0 != 0 && !web1.host.exists(DROP_IN), "nothing is left on tmpfs");
    Ok(())
}

#[test]
fn the_daemon_raises_the_alarm_for_an_end_that_a_connected_host_does_not_tell_of() -> Result<()> {
    let (fleet, web1, _clock) = scene()?;
    let told = |many: usize| fleet.events("host.ended").is_ok_and(|events| events.len() == many);
    web1.host.run("alice", ["elevate", "web-quick", "-m", "an ordinary reason"])?.success()?;
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
