//! The daemon is away for days and a host has much to tell: rights end in time, nothing is lost or counts twice, nobody waits for it.
//!
//! In: the staged build and the tree; `ELEVATE_BACKLOG=100000` for the long form, which also says how long it took. Out: one scene, data
//! on the machine's own disk. Runs as: root, in test hosts. Threat R10.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use elevate_protocol::frame;
use elevate_protocol::message::agent::{UseKind, UseReport};
use elevate_protocol::message::person::{Reply, Say};
use elevate_tests::fleet::{Fleet, Managed, POLICY, installed};
use elevate_tests::{Access, eventually, places};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use tempfile::TempDir;

const ID: [&str; 2] = ["/usr/bin/id", "-u"];
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
/// Reports that `make test` lets wait: more than one file of them.
const SOME: u64 = 2_000;
/// How long 100 000 of them may take, by docs/threats.md.
const AIM: Duration = Duration::from_secs(60);
/// From which number on there is time to look what else goes on meanwhile.
const MANY: u64 = 50_000;
const PLAIN: &str = "mallory ALL=(root) NOPASSWD: /usr/bin/id -u\n";

fn backlog() -> Result<u64> {
    match std::env::var("ELEVATE_BACKLOG") {
        Ok(number) => number.parse().context("ELEVATE_BACKLOG is a number of reports"),
        Err(_) => Ok(SOME),
    }
}

/// A fleet whose daemon, and whose web1, keep what they keep on the machine's disk; web2 as any.
struct Scene {
    fleet: Fleet,
    web1: Managed,
    web2: Managed,
    disk: TempDir,
}

fn scene() -> Result<Scene> {
    let disk = tempfile::tempdir_in(places::bed_dir()?)?;
    let folder = |name: &str| {
        let path = disk.path().join(name);
        std::fs::create_dir(&path)?;
        anyhow::Ok(path)
    };
    let fleet = Fleet::with_vault(installed()?.bind(folder("daemon")?, "/var/lib/elevated"), POLICY)?;
    let host = fleet.lab.host_with("web1", installed()?.bind(folder("agent")?, "/var/lib/elevate"))?;
    let web1 = Managed::enrol(&fleet, host, &["tier=web"])?;
    web1.host.write_as("/etc/sudoers.d/plain", PLAIN, Access::root(0o440))?;
    let web2 = fleet.managed("web2", &["tier=web"])?;
    Ok(Scene { fleet, web1, web2, disk })
}

/// Says to the agent of a host what its module says of alice's uses, with these numbers.
fn use_often(web1: &Managed, numbers: std::ops::Range<u64>) -> Result<()> {
    let door = format!("/proc/{}/root/run/elevate/agent.sock", web1.host.pid()?);
    for number in numbers {
        let used = UseReport {
            uid: 2000,
            kind: UseKind::Start,
            service: "sudo".parse()?,
            run_as: Some("root".parse()?),
            argv: ["sudo", "-n", "/usr/bin/id", "-u", &number.to_string()]
                .iter()
                .map(|word| word.parse())
                .collect::<Result<_, _>>()?,
            directory: Some("/home/alice".parse()?),
            terminal: None,
            pid: 4711,
        };
        let mut stream = UnixStream::connect(&door)?;
        stream.write_all(&frame::encode(&Say::Use(used))?)?;
        let reply: Option<Reply> = frame::read(&mut stream)?;
        ensure!(matches!(reply, Some(Reply::Done(_))), "use {number}: {reply:?}");
    }
    Ok(())
}

/// What the agent says of itself.
fn status(web1: &Managed) -> Option<Value> {
    serde_json::from_str(&web1.host.read("/run/elevate/status.json").ok()?).ok()
}

fn waiting(web1: &Managed) -> Option<u64> {
    status(web1)?.get("reports_waiting")?.as_u64()
}

/// Resident memory of the agent in KiB, and the most that it ever was.
fn memory(web1: &Managed) -> Result<(u64, u64)> {
    let pid = status(web1).and_then(|status| status.get("pid")?.as_u64()).context("no pid")?;
    let text = web1.host.run("root", ["cat", &format!("/proc/{pid}/status")])?.success()?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_suffix(" kB"));
        line.and_then(|number| number.trim().parse().ok()).with_context(|| format!("no {name}"))
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}

/// What web1 reported, in the order of the daemon's log: number and, of a use, its last argument.
fn reported(disk: &TempDir) -> Result<Vec<(u64, Option<u64>)>> {
    let path = disk.path().join("daemon/elevated.db");
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut rows = database.prepare("SELECT line FROM events WHERE code LIKE 'host.%' ORDER BY seq")?;
    let lines = rows.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    let mut found = Vec::new();
    for line in lines {
        let event: Value = serde_json::from_str(&line)?;
        let number = event.pointer("/details/number").and_then(Value::as_u64);
        let Some(number) = number.filter(|_| event.get("host").is_some_and(|host| host == "web1")) else {
            continue;
        };
        let words = event.pointer("/details/used/argv").and_then(Value::as_array);
        let last = words.and_then(|words| words.last()?.as_str()?.parse().ok());
        found.push((number, last));
    }
    Ok(found)
}

/// The daemon is gone, by both clocks for a week.
fn a_week(scene: &mut Scene, uses: u64) -> Result<()> {
    let vault = scene.fleet.own_clock()?;
    let clocks = [vault, scene.web1.own_clock(&scene.fleet)?, scene.web2.own_clock(&scene.fleet)?];
    let Scene { fleet, web1, web2, .. } = scene;
    web1.begin("alice", "web-quick")?;
    fleet.kill_daemon()?;
    // They come when we say so.
    web1.kill_link()?;
    web2.kill_link()?;
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "a grant needs no daemon");
    use_often(web1, 0..uses / 2)?;
    for clock in &clocks {
        clock.advance(WEEK)?;
    }
    web1.wait_end("alice")?;
    ensure!(web1.sudo("alice", &ID)?.0 != 0, "over");
    ensure!(web1.sudo("mallory", &ID)?.0 == 0, "a rule of root's own");
    web1.host.run("alice", ["elevate", "web-quick", "-n", "-m", "an ordinary reason"])?.exits(8)?;
    // A start finds all of it, and is not slower for it.
    web1.kill_agent()?;
    ensure!(web1.sudo("mallory", &ID)?.0 == 0, "a rule of root's own, with the agent dead");
    let begin = Instant::now();
    web1.start_agent()?;
    println!("the agent starts with {} reports in {:?}", uses / 2, begin.elapsed());
    ensure!(web1.sudo("alice", &ID)?.0 != 0, "nothing comes back");
    use_often(web1, uses / 2..uses)?;
    ensure!(web1.sudo("mallory", &ID)?.0 == 0, "a rule of root's own");
    ensure!(waiting(web1) >= Some(uses), "{:?} wait", waiting(web1));
    println!("it holds {uses} reports with {:?} KiB (now, most)", memory(web1)?);
    Ok(())
}

/// alice takes a right on a host and gives it back; how long the slower of the two took.
fn to_and_fro(host: &Managed) -> Result<Duration> {
    let begin = Instant::now();
    host.begin("alice", "web-quick")?;
    let taken = begin.elapsed();
    host.host.run("alice", ["elevate", "drop"])?.success()?;
    Ok(taken.max(begin.elapsed().saturating_sub(taken)))
}

#[test]
fn r10_after_a_week_without_the_daemon_every_report_arrives_once_in_its_order() -> Result<()> {
    let uses = backlog()?;
    let mut scene = scene()?;
    a_week(&mut scene, uses)?;
    let Scene { disk, mut fleet, mut web1, mut web2 } = scene;
    fleet.start_daemon()?;
    web2.start_link()?;
    web2.wait_connected(&fleet)?;
    let quiet = to_and_fro(&web2)?;

    let begin = Instant::now();
    web1.start_link()?;
    web1.wait_connected(&fleet)?;
    let mut slowest = Duration::ZERO;
    if uses >= MANY {
        // Whoever needs a right there does not wait for what the host has to tell, nor does anybody elsewhere.
        web1.begin("alice", "web-quick")?;
        ensure!(web1.sudo("alice", &ID)?.0 == 0 && waiting(&web1) > Some(uses / 2), "{:?}", waiting(&web1));
        fleet.ctl(&["revoke", "--role", "web-quick", "-m", "that was enough"])?;
        web1.wait_end("alice")?;
        ensure!(waiting(&web1) > Some(uses / 4), "{:?} wait", waiting(&web1));
        println!("a right came and went by {:?}, with {:?} waiting", begin.elapsed(), waiting(&web1));
        // Now and then: nobody begins more than so many conversations in a minute.
        for part in (1..20).rev() {
            eventually(AIM, "reports that arrive", || waiting(&web1) < Some(uses / 20 * part))?;
            slowest = slowest.max(to_and_fro(&web2)?);
        }
    }
    let limit = AIM.saturating_mul(5);
    eventually(limit, "the last report", || waiting(&web1) == Some(0))?;
    let took = begin.elapsed();
    println!("{uses} reports in {took:?}; a right on another host: {quiet:?} before, {slowest:?} meanwhile");
    println!("the agent after it: {:?} KiB (now, most)", memory(&web1)?);

    let all = reported(&disk)?;
    let numbers = all.iter().map(|(number, _)| *number);
    ensure!(numbers.eq(1..=u64::try_from(all.len())?), "a number is missing or came twice");
    let used = all.iter().filter_map(|(_, used)| *used);
    ensure!(used.eq(0..uses), "a use is missing or came twice");
    ensure!(fleet.events("host.reports-lost")?.is_empty(), "something was dropped");
    web1.begin("alice", "web-quick")?;
    empties_its_spool(&fleet, &mut web1, &disk, uses)
}

/// root makes room where the reports were: the host has lost count, and what it tells from then on is not taken for what it told before.
fn empties_its_spool(fleet: &Fleet, web1: &mut Managed, disk: &TempDir, uses: u64) -> Result<()> {
    eventually(AIM, "the reports of the grant", || waiting(web1) == Some(0))?;
    web1.kill_link()?;
    web1.kill_agent()?;
    web1.host.run("root", ["sh", "-c", "rm /var/lib/elevate/spool/*"])?.success()?;
    web1.start_agent()?;
    let more = uses.saturating_add(5);
    use_often(web1, uses..more)?;
    web1.start_link()?;
    web1.wait_connected(fleet)?;
    eventually(AIM, "the last report", || waiting(web1) == Some(0))?;
    let all = reported(disk)?;
    let used = all.iter().filter_map(|(_, used)| *used);
    ensure!(used.eq(0..more), "a use is missing or came twice");
    ensure!(all.is_sorted_by(|before, after| before.0 < after.0), "a number came twice");
    let tampered = fleet.events("host.tampered")?;
    let told = tampered.iter().filter(|event| event.to_string().contains("more than its spool knows of"));
    ensure!(told.count() == 1, "{tampered:?}");
    Ok(())
}
