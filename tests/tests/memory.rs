//! Little memory: agent and daemon in a cgroup with a limit, while others send them whatever takes most (threats R08, B06, B07, H09).
//!
//! In: the staged build and the tree, cgroups that count memory. Out: nobody is killed for what others send; who is killed all the same
//! is back soon, with everything that was acknowledged. Runs as: root, in test hosts.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that meets what it does not expect panics, and that is its answer"
)]

#[path = "memory/insiders.rs"]
mod insiders;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use elevate_protocol::frame::encode;
use elevate_tests::fleet::{self, Fleet, Managed};
use elevate_tests::{Access, Host, Memory, PATIENCE, Running, eventually, places};
use serde_json::json;

use insiders::Insiders;

const MIB: u64 = 1024 * 1024;
/// What the unit files of a small machine would give them.
const OF_AGENT: u64 = 64 * MIB;
const OF_DAEMON: u64 = 256 * MIB;
const ID: [&str; 2] = ["/usr/bin/id", "-u"];
const SPEAKER: &str = "/usr/local/bin/testbed";

fn agent_within(web1: &mut Managed, memory: &Memory) -> Result<()> {
    let running = web1.host.cmd("root", ["/usr/sbin/elevate-agent", "run"]).within(memory).spawn()?;
    running.expect("ready", PATIENCE)?;
    web1.agent = Some(running);
    Ok(())
}

fn daemon_within(fleet: &mut Fleet, memory: &Memory) -> Result<()> {
    let running = fleet.vault.cmd("elevated", ["/usr/sbin/elevated", "run"]).within(memory).spawn()?;
    running.expect("ready", PATIENCE)?;
    fleet.daemon = Some(running);
    Ok(())
}

fn quick(web1: &Managed) -> Result<()> {
    web1.host.run("alice", ["elevate", "web-quick", "-m", "an ordinary reason"])?.success().map(drop)
}

/// The largest frame, but for its last byte: it is waited for.
fn half_a_frame() -> Result<Vec<u8>> {
    let mut bytes = encode(&json!({"hello": {"versions": {"lowest": 1, "highest": 1}}}))?;
    bytes.extend((256 * 1024_u32).to_be_bytes());
    bytes.extend(vec![b'['; 256 * 1024 - 1]);
    Ok(bytes)
}

/// A machine that is nobody's, so that nobody else shares its address.
fn outside(fleet: &Fleet) -> Result<Host> {
    fleet::installed_host(&fleet.lab, "outside")
}

/// Everybody on the host at once, each on many connections.
fn storm(web1: &Managed, memory: &Memory) -> Result<()> {
    let tiny = [0, 0, 0, 1, b' '].repeat(200_000);
    let claimed = [0xFFFF_FFFF_u32.to_be_bytes().to_vec(), vec![b'x'; 4_000_000]].concat();
    let limit = Duration::from_secs(90);
    std::thread::scope(|scope| -> Result<()> {
        let mut waves = Vec::new();
        for (login, bytes, times) in [
            ("mallory", half_a_frame()?, "300"),
            ("bob", half_a_frame()?, "300"),
            ("carol", tiny, "20"),
            ("elevate-link", claimed, "20"),
        ] {
            let argv = [SPEAKER, "speak", "--socket", "/run/elevate/agent.sock", "--times", times];
            let wave = web1.host.cmd(login, argv).input(bytes).limit(limit);
            waves.push(scope.spawn(move || wave.run()));
        }
        // Alice is served meanwhile.
        web1.host.run("alice", ["elevate", "status"])?.success()?;
        for wave in waves {
            let said = wave.join().unwrap()?;
            ensure!(!said.stdout.contains("\"done\""), "{said}");
        }
        Ok(())
    })?;
    println!("agent: {} KiB at most", memory.peak()? / 1024);
    Ok(())
}

#[test]
fn r08_floods_of_garbage_do_not_kill_an_agent_that_has_64_mib() -> Result<()> {
    let fleet = Fleet::new()?;
    let mut web1 = fleet.managed("web1", &["tier=web"])?;
    web1.host.install(places::program("testbed")?, SPEAKER, Access::root(0o755))?;
    let memory = Memory::limited(OF_AGENT)?;
    web1.kill_agent()?;
    agent_within(&mut web1, &memory)?;
    web1.wait_connected(&fleet)?;
    quick(&web1)?;
    let pid = web1.agent.as_ref().context("no agent")?.pid();
    storm(&web1, &memory)?;
    ensure!(memory.kills()? == 0, "killed for want of memory");
    let agent = web1.agent.as_mut().context("no agent")?;
    ensure!(agent.is_running() && agent.pid() == pid, "another agent");
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "alice's right");
    web1.host.run("alice", ["elevate", "drop"])?.success()?;
    web1.wait_end("alice")?;
    web1.agent = None;
    Ok(())
}

#[test]
fn r08_people_with_keys_do_not_kill_a_daemon_that_has_256_mib() -> Result<()> {
    let mut fleet = Fleet::new()?;
    let web1 = fleet.managed("web1", &["tier=web"])?;
    let memory = Memory::limited(OF_DAEMON)?;
    fleet.kill_daemon()?;
    daemon_within(&mut fleet, &memory)?;
    web1.wait_connected(&fleet)?;
    let pid = fleet.daemon.as_ref().context("no daemon")?.pid();
    let outside = outside(&fleet)?;
    let insiders = Insiders::start((&fleet, &outside), &["alice", "bob", "carol"], half_a_frame()?)?;
    // A round of each, and whoever else comes is served.
    for round in [1, 3] {
        eventually(PATIENCE.saturating_mul(3), "a round of the insiders", || insiders.rounds() >= round)?;
        web1.host.run("alice", ["elevate", "status"])?.success()?;
    }
    quick(&web1)?;
    println!("daemon: {} KiB at most, {} conversations", memory.peak()? / 1024, insiders.most());
    // Each has all that they get at times, and they speak at once, or this proves nothing.
    let most = insiders.most();
    insiders.end()?;
    ensure!((48..=192).contains(&most), "{most} conversations");
    ensure!(memory.kills()? == 0, "killed for want of memory");
    let daemon = fleet.daemon.as_mut().context("no daemon")?;
    ensure!(daemon.is_running() && daemon.pid() == pid, "another daemon");
    fleet.daemon = None;
    Ok(())
}

/// Takes memory away from a program, which gets ever more to do, until the kernel kills it.
fn starve(memory: &Memory, running: &mut Running, mut work: impl FnMut() -> Result<()>) -> Result<()> {
    for _ in 0..100 {
        for part in [50, 80, 90, 95, 100] {
            // Version 1 refuses to go below what cannot be given back; version 2 kills then.
            if memory.limit(memory.used()? * part / 100).is_ok() {
                break;
            }
        }
        work()?;
        if !running.is_running() {
            ensure!(memory.kills()? > 0, "it ended otherwise: {}", running.log());
            return Ok(());
        }
    }
    anyhow::bail!("it lives on {} bytes", memory.used()?)
}

#[test]
fn r08_whoever_the_kernel_kills_is_back_with_everything() -> Result<()> {
    let mut fleet = Fleet::new()?;
    let mut web1 = fleet.managed("web1", &["tier=web"])?;
    quick(&web1)?;
    web1.host.install(places::program("testbed")?, SPEAKER, Access::root(0o755))?;
    let outside = outside(&fleet)?;
    let memory = Memory::limited(OF_DAEMON)?;
    fleet.kill_daemon()?;
    daemon_within(&mut fleet, &memory)?;
    web1.wait_connected(&fleet)?;
    let mut daemon = fleet.daemon.take().context("no daemon")?;
    let insiders = Insiders::start((&fleet, &outside), &["alice"], half_a_frame()?)?;
    starve(&memory, &mut daemon, || web1.host.run("alice", ["elevate", "status"]).map(drop))?;
    insiders.end()?;
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "a right in force needs no daemon");
    fleet.start_daemon()?;

    let memory = Memory::limited(OF_AGENT)?;
    web1.kill_agent()?;
    agent_within(&mut web1, &memory)?;
    let mut agent = web1.agent.take().context("no agent")?;
    let flood = [SPEAKER, "speak", "--socket", "/run/elevate/agent.sock", "--times", "60"];
    let mut crowd = Vec::new();
    starve(&memory, &mut agent, || {
        for login in ["mallory", "bob", "carol", "elevate-link", "root"] {
            let half = half_a_frame()?;
            let (host, login) = (web1.host.clone(), login.to_owned());
            crowd.push(std::thread::spawn(move || drop(host.cmd(&login, flood).input(half).run())));
        }
        web1.host.run("alice", ["elevate", "status"]).map(drop)
    })?;
    crowd.into_iter().for_each(|one| one.join().unwrap());
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "a right in force needs no agent");
    web1.start_agent()?;
    web1.wait_connected(&fleet)?;
    // R01: what was acknowledged is there, once, and goes on to its end.
    ensure!(fleet.events("grant.issued")?.len() == 1, "one grant");
    let status = web1.host.run("alice", ["elevate", "status"])?.success()?;
    ensure!(status.contains("web-quick"), "{status}");
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "alice's right");
    web1.host.run("alice", ["elevate", "drop"])?.success()?;
    web1.wait_end("alice")?;
    ensure!(web1.sudo("alice", &ID)?.0 != 0, "it has ended");
    Ok(())
}
