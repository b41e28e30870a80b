//! Programs that hang and do not die, on hosts that a real systemd booted, under the shipped units.
//!
//! In: SIGSTOP, a frozen cgroup, a disk that does not answer. Out: what systemd does, and what holds meanwhile. Threat R22.
//! Runs as: root, in test hosts. `ELEVATE_TEST_WATCHDOG=shipped` leaves the units their own 25 s.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use elevate_tests::fleet::{Fleet, Managed, POLICY, Service, uptime};
use elevate_tests::{Host, PATIENCE, eventually, obtain};

const ID: [&str; 2] = ["/usr/bin/id", "-u"];
/// THREATS R22: how long it may take from the beginning of the hang until the program works again, in milliseconds.
const LIMIT: u64 = 30_000;
/// The part of it that is not the watchdog's: `RestartSec=`, the end and the start.
const REST: u64 = 5_000;

const MOMENT: &str = r#"
[roles.web-moment]
who      = ["alice"]
hosts    = { tier = "web" }
sudo     = { as = "root", run = [["/usr/bin/id", "-u"]] }
duration = "7s"
mfa      = "none"
warn     = []
"#;

fn now() -> Result<u64> {
    uptime().context("no uptime")
}

/// Gives the unit another watchdog, so that a test need not wait for the shipped one. The program is started anew.
fn impatient(host: &Host, unit: &Service, name: &str, seconds: u64) -> Result<()> {
    if std::env::var("ELEVATE_TEST_WATCHDOG").is_ok_and(|wanted| wanted == "shipped") {
        ensure!(unit.property("WatchdogUSec")? == "25s", "not the shipped unit");
        return Ok(());
    }
    let drop_in = format!("/etc/systemd/system/{name}.service.d/watchdog.conf");
    host.write(drop_in, format!("[Service]\nWatchdogSec={seconds}\n"))?;
    host.run("root", ["systemctl", "daemon-reload"])?.success()?;
    unit.ctl("restart").map(drop)
}

/// What a unit was when it was made to hang.
struct Hung {
    unit: Service,
    pid: u32,
    starts: u64,
    since: u64,
}

impl Hung {
    fn begin(unit: &Service, hang: impl FnOnce() -> Result<()>) -> Result<Self> {
        let pid = unit.pid()?.context("it does not run")?;
        let starts = unit.property("NRestarts")?.parse()?;
        let since = now()?;
        hang()?;
        Ok(Self { unit: unit.clone(), pid, starts, since })
    }

    /// Whether it is still the one that was made to hang.
    fn still(&self) -> Result<bool> {
        Ok(self.unit.pid()? == Some(self.pid))
    }

    /// Waits until systemd has killed it for its silence and started it again.
    fn until_started_again(self) -> Result<()> {
        let limit = PATIENCE.saturating_mul(3);
        let again = eventually(limit, "another process of the unit, ready", || {
            self.unit.pid().is_ok_and(|pid| pid.is_some_and(|pid| pid != self.pid))
                && self.unit.is_running().unwrap_or(false)
        });
        if let Err(error) = again {
            return Err(error.context(self.unit.journal()?));
        }
        let took = now()?.saturating_sub(self.since);
        let restarts: u64 = self.unit.property("NRestarts")?.parse()?;
        let journal = self.unit.journal()?;
        println!("started again {took} ms after it hung");
        let watchdog = watchdog(&self.unit)?;
        ensure!(took <= LIMIT.min(watchdog.saturating_add(REST)), "it took {took} ms:\n{journal}");
        ensure!(restarts == self.starts.saturating_add(1), "{restarts} restarts:\n{journal}");
        ensure!(journal.contains("Watchdog timeout"), "for another reason:\n{journal}");
        Ok(())
    }
}

/// The watchdog of a unit in milliseconds.
fn watchdog(unit: &Service) -> Result<u64> {
    let shown = unit.property("WatchdogUSec")?;
    let seconds = shown.strip_suffix('s').with_context(|| format!("a watchdog of {shown:?}"))?;
    Ok(seconds.parse::<u64>()?.saturating_mul(1000))
}

fn is_stopped(host: &Host, pid: u32) -> Result<bool> {
    Ok(host.read(format!("/proc/{pid}/status"))?.contains("\nState:\tT"))
}

/// SIGSTOP, until it has been obeyed.
fn stop(host: &Host, unit: &Service) -> Result<()> {
    let pid = unit.pid()?.context("it does not run")?;
    unit.signal("STOP")?;
    eventually(PATIENCE, "the program standing still", || is_stopped(host, pid).unwrap_or(false))
}

#[test]
fn r22_systemd_starts_an_agent_that_hangs_again_and_the_gate_ends_rights_meanwhile() -> Result<()> {
    let fleet = Fleet::with_policy(&format!("{POLICY}{MOMENT}"))?;
    let web1 = fleet.booted_managed("web1", &["tier=web"])?;
    let agent = Service::new(&web1.host, "elevate-agent");
    impatient(&web1.host, &agent, "elevate-agent", 9)?;
    web1.wait_connected(&fleet)?;
    web1.begin("bob", "web-quick")?;
    web1.begin("alice", "web-moment")?;
    let end = *ends(&web1)?.iter().min().context("no end")?;

    eventually(PATIENCE, "shortly before the end", || {
        uptime().is_some_and(|now| now >= end.saturating_sub(2_500))
    })?;
    let hung = Hung::begin(&agent, || stop(&web1.host, &agent))?;
    let allowed = web1.sudo("alice", &ID)?.0 == 0;
    ensure!(allowed || now()? >= end, "in force, without the agent");
    eventually(PATIENCE, "the end", || uptime().is_some_and(|now| now >= end))?;
    ensure!(web1.sudo("alice", &ID)?.0 != 0, "over, without the agent");
    ensure!(web1.sudo("bob", &ID)?.0 == 0, "another's is not");
    ensure!(hung.still()? && is_stopped(&web1.host, hung.pid)?, "it hung all the while");
    hung.until_started_again()?;
    in_sync(&fleet, &web1)?;

    // A hang that SIGABRT does not end: nothing but SIGKILL reaches a frozen process, or one that waits for a dead disk.
    impatient(&web1.host, &agent, "elevate-agent", 3)?;
    web1.wait_connected(&fleet)?;
    let hung = Hung::begin(&agent, || {
        web1.host
            .run(
                "root",
                ["sh", "-c", "echo 1 > /sys/fs/cgroup/system.slice/elevate-agent.service/cgroup.freeze"],
            )?
            .success()
            .map(drop)
    })?;
    hung.until_started_again()?;
    in_sync(&fleet, &web1)
}

#[test]
fn r22_systemd_starts_a_link_that_hangs_again_and_what_was_taken_away_is() -> Result<()> {
    let fleet = Fleet::with_policy(POLICY)?;
    let web1 = fleet.booted_managed("web1", &["tier=web"])?;
    let link = Service::new(&web1.host, "elevate-link");
    impatient(&web1.host, &link, "elevate-link", 4)?;
    web1.wait_connected(&fleet)?;
    web1.begin("alice", "web-quick")?;
    let hung = Hung::begin(&link, || stop(&web1.host, &link))?;
    fleet.ctl(&["revoke", "--role", "web-quick", "-m", "no longer needed"])?;
    hung.until_started_again()?;
    web1.wait_sudo("alice", &ID, false)?;
    web1.wait_connected(&fleet)
}

/// The ends of all grants on the host, in milliseconds since the boot.
fn ends(web1: &Managed) -> Result<Vec<u64>> {
    let deadlines: serde_json::Value = serde_json::from_str(&web1.host.read("/run/elevate/deadlines.json")?)?;
    let ends = deadlines.get("ends").and_then(serde_json::Value::as_object).context("no ends")?;
    Ok(ends.values().filter_map(serde_json::Value::as_u64).collect())
}

/// Alice's right is over and reported once, bob's goes on, and nothing was found that nobody signed.
fn in_sync(fleet: &Fleet, web1: &Managed) -> Result<()> {
    web1.wait_connected(fleet)?;
    web1.wait_end("alice")?;
    eventually(PATIENCE, "the report", || fleet.events("host.ended").is_ok_and(|ended| ended.len() == 1))?;
    ensure!(web1.sudo("alice", &ID)?.0 != 0 && web1.sudo("bob", &ID)?.0 == 0, "what is in force");
    ensure!(fleet.events("host.tampered")?.is_empty(), "nobody tampered");
    let link = Service::new(&web1.host, "elevate-link");
    ensure!(link.is_running()?, "{}", link.journal()?);
    Ok(())
}

/// strace(1) that holds every thread of a program that syncs a file, until it is dropped.
struct DeadDisk(Child);

impl DeadDisk {
    fn under(host: &Host, unit: &str) -> Result<Self> {
        let processes: PathBuf = host.cgroup()?.join(format!("system.slice/{unit}.service/cgroup.procs"));
        let pid =
            std::fs::read_to_string(&processes)?.lines().next().context("nobody in the unit")?.to_owned();
        let mut strace = Command::new("strace");
        strace.args(["--quiet=all", "-f", "-p", &pid, "-e", "trace=fsync,fdatasync"]);
        strace.args(["-e", "inject=fsync,fdatasync:delay_enter=600000000"]);
        let held =
            Self(strace.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("cannot run strace")?);
        let status = || std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        // Dead or alive, it would keep the host's processes: it ends with them.
        std::fs::write(host.entered_cgroup()?.join("cgroup.procs"), held.0.id().to_string())?;
        eventually(PATIENCE, "strace", || status().contains(&format!("TracerPid:\t{}\n", held.0.id())))?;
        Ok(held)
    }
}

impl Drop for DeadDisk {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn r22_systemd_starts_a_daemon_that_hangs_again_and_hosts_go_on_meanwhile() -> Result<()> {
    let fleet = Fleet::booted(POLICY)?;
    let web1 = fleet.managed("web1", &["tier=web"])?;
    let daemon = Service::new(&fleet.vault, "elevated");
    impatient(&fleet.vault, &daemon, "elevated", 4)?;
    web1.wait_connected(&fleet)?;
    web1.begin("alice", "web-quick")?;

    let hung = Hung::begin(&daemon, || stop(&fleet.vault, &daemon))?;
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "a right needs no daemon");
    hung.until_started_again()?;
    web1.wait_connected(&fleet)?;

    // The runtime, its timers and its readers go on; what writes stands still.
    let disk = DeadDisk::under(&fleet.vault, "elevated")?;
    let mut asks = None;
    let hung = Hung::begin(&daemon, || {
        asks = Some(web1.host.spawn("bob", ["elevate", "web-quick", "-m", "an ordinary reason"])?);
        Ok(())
    })?;
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "a right needs no daemon");
    // strace holds even the dead: it goes as soon as systemd has done its part.
    let killed = format!("Killing process {} (elevated) with signal SIGKILL", hung.pid);
    eventually(PATIENCE.saturating_mul(3), "the end of its silence", || {
        daemon.journal().is_ok_and(|told| told.contains(&killed))
    })?;
    drop(disk);
    hung.until_started_again()?;
    drop(asks);
    web1.wait_connected(&fleet)?;
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "it goes on");
    // He was told that nothing came of it, or it came of it all the same.
    obtain(PATIENCE, "bob's right", || {
        web1.begin("bob", "web-quick").ok().or_else(|| (web1.sudo("bob", &ID).ok()?.0 == 0).then(String::new))
    })?;
    ensure!(web1.sudo("bob", &ID)?.0 == 0, "and others begin");
    Ok(())
}
