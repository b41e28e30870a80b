//! Time on real hosts: odd years, odd zones, an agent that stands still (threats G05–G07).
//!
//! In: the staged build and the tree. Out: rights that end when they should. Runs as: root, in test hosts.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use elevate_tests::fleet::{BRIEF, Fleet, Managed, scene, uptime};
use elevate_tests::{PATIENCE, eventually};
use nix::libc::{SIGCONT, SIGSTOP};
use serde_json::Value;

const ID: [&str; 2] = ["/usr/bin/id", "-u"];
const DROP_IN: &str = "/run/elevate/sudoers.d/u2000";
/// A right from elsewhere.
const LIST: &str = r#"
[roles.web-list]
who      = ["alice"]
hosts    = { tier = "web" }
sudo     = { as = "root", run = [["/usr/bin/ls", "-a", "/root"]] }
duration = "10m"
mfa      = "none"
"#;

/// web1 with the right that ends soon as well.
fn site() -> Result<(Fleet, Managed)> {
    scene(&format!("{BRIEF}{LIST}"))
}

fn wait_until(boot: u64) -> Result<()> {
    eventually(PATIENCE.saturating_mul(2), "the moment", || uptime().is_some_and(|now| now >= boot))
}

fn signal_agent(web1: &Managed, number: i32) -> Result<()> {
    web1.agent.as_ref().context("no agent")?.signal(number)
}

/// Places in the log of the events with this code.
fn places(fleet: &Fleet, code: &str) -> Result<Vec<u64>> {
    let seq = |event: &Value| event.get("seq").and_then(Value::as_u64).context("no place");
    fleet.events(code)?.iter().map(seq).collect()
}

#[test]
fn g06_an_agent_that_stood_still_ends_what_is_over_before_anything_else() -> Result<()> {
    let (fleet, web1) = site()?;
    let login = fleet.ctl(&["person", "invite", "alice", "-q"])?;
    fleet.laptop.cmd("alice", ["elevate", "login"]).input(login).run()?.success()?;
    web1.begin("alice", "web-brief")?;
    let end = web1.end()?;
    signal_agent(&web1, SIGSTOP)?;
    // Meanwhile a document waits for it, and people knock.
    let wanted = ["elevate", "web-list", "-H", "web1", "-m", "an ordinary reason"];
    fleet.laptop.cmd("alice", wanted).limit(PATIENCE.saturating_mul(2)).run()?.exits(9)?;
    let knocks: Vec<_> =
        (0..20).map(|_| web1.host.spawn("mallory", ["elevate", "status"])).collect::<Result<_>>()?;
    wait_until(end)?;
    ensure!(web1.host.exists(DROP_IN), "nobody has looked yet");
    signal_agent(&web1, SIGCONT)?;
    eventually(PATIENCE, "the waiting document", || {
        places(&fleet, "grant.confirmed").is_ok_and(|all| all.len() == 2)
    })?;
    drop(knocks);
    let (ended, confirmed) = (places(&fleet, "host.ended")?, places(&fleet, "grant.confirmed")?);
    ensure!(ended.len() == 1 && ended.first() < confirmed.last(), "{ended:?} {confirmed:?}");
    ensure!(web1.sudo("alice", &ID)?.0 != 0, "over");
    Ok(())
}

#[test]
fn g06_while_the_agent_stands_still_the_gate_ends_a_right() -> Result<()> {
    let (fleet, web1) = site()?;
    web1.begin("alice", "web-brief")?;
    let end = web1.end()?;
    signal_agent(&web1, SIGSTOP)?;
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "in force, without the agent");
    wait_until(end)?;
    let begin = uptime().context("no uptime")?;
    ensure!(web1.sudo("alice", &ID)?.0 != 0 && web1.sudo("alice", &ID)?.0 != 0, "over, without the agent");
    let took = uptime().context("no uptime")?.saturating_sub(begin);
    ensure!(took < 6_000, "two refusals took {took} ms");
    signal_agent(&web1, SIGCONT)?;
    eventually(PATIENCE, "the end", || places(&fleet, "host.ended").is_ok_and(|all| all.len() == 1))
}

/// Sets both clocks to this many seconds before `moment`.
fn set_clocks(fleet: &Fleet, web1: &mut Managed, (moment, before): (u64, u64)) -> Result<()> {
    let (vault, host) = (fleet.vault.clock()?, web1.host.clock()?);
    web1.cut_off(fleet, || {
        let real = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let offset = u64::try_from(vault.offset()?)?;
        let now = real.saturating_add(Duration::from_nanos(offset));
        let by = Duration::from_secs(moment.saturating_sub(before)).saturating_sub(now);
        vault.advance(by)?;
        host.advance(by)
    })
}

#[test]
fn g05_a_right_goes_over_2038_and_2106_and_ends_to_the_second() -> Result<()> {
    let (mut fleet, mut web1) = site()?;
    fleet.own_clock()?;
    web1.own_clock(&fleet)?;
    for (moment, end_in_sudo) in
        [(2_147_483_648, "NOTAFTER=203801190314"), (4_294_967_296, "NOTAFTER=210602070628")]
    {
        set_clocks(&fleet, &mut web1, (moment, 9))?;
        web1.begin("alice", "web-brief")?;
        let drop_in = web1.host.read(DROP_IN)?;
        ensure!(drop_in.contains(end_in_sudo), "{drop_in}");
        let end = web1.end()?;
        ensure!(web1.sudo("alice", &ID)?.0 == 0, "before");
        // The moment is 9 s after the clocks were set, the end 15 s after the beginning: 5 s before it, it is past.
        wait_until(end.saturating_sub(4_000))?;
        ensure!(web1.sudo("alice", &ID)?.0 == 0, "after");
        wait_until(end)?;
        ensure!(web1.sudo("alice", &ID)?.0 != 0, "over");
        web1.wait_end("alice")?;
    }
    ensure!(places(&fleet, "host.ended")?.len() == 2, "each once");
    Ok(())
}

/// Thirty zones that need no data of zones, and a few that are none.
const ZONES: [&str; 30] = [
    "UTC0",
    "UTC+12",
    "UTC-14",
    "IST-5:30",
    "HST10",
    "CET-1CEST,M3.5.0,M10.5.0/3",
    "EST5EDT,M3.2.0,M11.1.0",
    "LHST-10:30LHDT-11,M10.1.0,M4.1.0",
    "NPT-5:45",
    "SST-13",
    "NST3:30NDT,M3.2.0,M11.1.0",
    "IRST-3:30",
    "CHAST-12:45CHADT,M9.5.0/2:45,M4.1.0/3:45",
    "GMT0BST,M3.5.0/1,M10.5.0",
    "VET4",
    "KST-9",
    "LINT-14",
    "AZOT1AZOST,M3.5.0/0,M10.5.0/1",
    "JST-9",
    "BRT3",
    "EET-2EEST,M4.5.5/0,M10.5.4/24",
    "MVT-5",
    "WGT2WGST,M3.5.0/-1,M10.5.0/0",
    "X-24",
    "X+24",
    "",
    ":/etc/passwd",
    "nonsense",
    "right/UTC",
    "../../etc/shadow",
];

#[test]
fn g07_no_zone_and_no_language_of_a_process_is_in_a_file_or_a_log() -> Result<()> {
    let (mut fleet, mut web1) = site()?;
    fleet.kill_daemon()?;
    web1.kill_link()?;
    web1.kill_agent()?;
    let odd =
        [("TZ", "X-24"), ("LANG", "ar_SA.UTF-8"), ("LC_ALL", "ar_SA.UTF-8"), ("LC_TIME", "th_TH.UTF-8")];
    let with = |cmd: elevate_tests::Cmd| odd.iter().fold(cmd, |cmd, (key, value)| cmd.env(key, value));
    let daemon = with(fleet.vault.cmd("elevated", ["/usr/sbin/elevated", "run"])).spawn()?;
    daemon.expect("ready", PATIENCE)?;
    fleet.daemon = Some(daemon);
    let agent = with(web1.host.cmd("root", ["/usr/sbin/elevate-agent", "run"])).spawn()?;
    agent.expect("ready", PATIENCE)?;
    web1.agent = Some(agent);
    web1.start_link()?;
    web1.wait_connected(&fleet)?;
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs());
    let before = now()?;
    web1.begin("alice", "web-list")?;
    let issued = fleet.events("grant.issued")?.pop().context("no event")?;
    let at = |field: Option<&Value>| field.and_then(Value::as_u64).context("no time");
    let (recorded, over) = (at(issued.get("at"))?, at(issued.pointer("/details/not_after"))?);
    ensure!((before..=now()?).contains(&recorded) && over == recorded.saturating_add(600), "{issued}");
    let utc = fleet
        .vault
        .run("root", ["date", "-u", "-d", &format!("@{}", over.saturating_sub(1)), "+%Y%m%d%H%M%SZ"])?;
    let drop_in = web1.host.read(DROP_IN)?;
    ensure!(drop_in.contains(&format!("NOTAFTER={}", utc.success()?.trim())), "{drop_in}");

    // What programs read is the same wherever they stand.
    let line =
        |text: String| text.lines().find(|line| line.contains("\"grant.issued\"")).map(ToOwned::to_owned);
    let tail = ["elevatectl", "audit", "tail", "-n", "1000", "--format", "json"];
    let status = ["elevate", "status", "--format", "json"];
    let ends = |text: String| -> Option<String> {
        let rest = text.split("\"ends_at\":").nth(1)?;
        rest.split(',').next().map(|end| end.trim().to_owned()).filter(|end| end.ends_with("Z\""))
    };
    let mut seen = Vec::new();
    for zone in ZONES {
        let log =
            fleet.vault.cmd("root", tail).env("TZ", zone).env("LC_ALL", "ar_SA.UTF-8").run()?.success()?;
        let own =
            web1.host.cmd("alice", status).env("TZ", zone).env("LC_ALL", "ar_SA.UTF-8").run()?.success()?;
        seen.push((zone, line(log).context("no line")?, ends(own).context("no end")?));
    }
    let (_, first_line, first_end) = seen.first().context("no zone")?;
    for (zone, line, end) in &seen {
        ensure!((line, end) == (first_line, first_end), "TZ={zone}: {line} {end}");
    }
    Ok(())
}
