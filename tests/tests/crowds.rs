//! Ten thousand connections to the daemon that never authenticate, from a hundred addresses (threat H09).
//!
//! In: the staged build and the tree. Out: people and hosts come in meanwhile, memory stays bounded. Runs as: root, in test hosts.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that meets what it does not expect panics, and that is its answer"
)]

use std::collections::VecDeque;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use elevate_tests::fleet::{self, Fleet};
use elevate_tests::{Host, Memory, PATIENCE, eventually};
use nix::sched::{CloneFlags, setns};
use socket2::{Domain, Socket, Type};

/// Held open at once, and at least so many in all.
const MANY: usize = 10_000;
/// Addresses that they come from: together they may have four times the seats there are.
const SOURCES: u8 = 100;
/// What the daemon may need for them, in KiB: 256 seats with a whole unencrypted packet each.
const MEMORY_MAX: u64 = 96 * 1024;

/// Half-open connections, from a thread in the network of a host.
struct Flood {
    stop: Arc<AtomicBool>,
    opened: Arc<AtomicUsize>,
    thread: JoinHandle<Result<VecDeque<Socket>>>,
}

impl Flood {
    fn start(from: &Host, to: &Host) -> Result<Self> {
        let script = format!("for n in $(seq {SOURCES}); do ip addr add 10.77.200.$n/16 dev eth0; done");
        from.run("root", ["bash", "-ec", &script])?.success()?;
        let limit = format!("--nofile={}:{}", 2 * MANY, 2 * MANY);
        let own = std::process::id().to_string();
        let raised = std::process::Command::new("prlimit").args(["--pid", &own, &limit]).status()?;
        ensure!(raised.success(), "prlimit: {raised}");
        let network = File::open(format!("/proc/{}/ns/net", from.pid()?))?;
        let daemon: Ipv4Addr = to.address().parse()?;
        let (stop, opened) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopping, count) = (Arc::clone(&stop), Arc::clone(&opened));
        let thread = std::thread::spawn(move || {
            setns(&network, CloneFlags::CLONE_NEWNET)?;
            let mut held = VecDeque::new();
            let mut source = 0;
            while !stopping.load(Ordering::Relaxed) {
                source = source % SOURCES + 1;
                let number = count.fetch_add(1, Ordering::Relaxed);
                held.push_back(half_open(source, daemon, number)?);
                if held.len() > MANY {
                    held.pop_front();
                }
            }
            Ok(held)
        });
        Ok(Self { stop, opened, thread })
    }

    /// No new ones; those that are held open are the caller's.
    fn end(self) -> Result<VecDeque<Socket>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().ok().context("the flood panicked")?
    }
}

/// Silent, or with the beginning of a version line, of a giant packet, or of a packet that goes on for ever.
fn half_open(source: u8, daemon: Ipv4Addr, number: usize) -> Result<Socket> {
    let stream = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    stream.bind(&SocketAddrV4::new(Ipv4Addr::new(10, 77, 200, source), 0).into())?;
    stream.connect(&SocketAddrV4::new(daemon, 7022).into())?;
    stream.set_nonblocking(true)?;
    let version = b"SSH-2.0-x\r\n".to_vec();
    let said = match number % 10 {
        0 => b"S".to_vec(),
        1 => [version, vec![0xff, 0xff, 0xff, 0xff, 20, 20]].concat(),
        2 => [version, vec![0, 0, 0x80, 0, 8, 20], vec![b'a'; 30_000]].concat(),
        _ => Vec::new(),
    };
    // Closed already: that is the daemon's right.
    drop(stream.send(&said));
    Ok(stream)
}

/// A number of /proc/PID/status, in KiB.
fn memory(pid: i32, what: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(what)).context("no such line")?;
    Ok(line.trim_start_matches(':').trim().trim_end_matches(" kB").parse()?)
}

#[test]
fn h09_ten_thousand_half_open_connections_keep_nobody_out_and_cost_little() -> Result<()> {
    let mut fleet = Fleet::new()?;
    let mut alice = fleet.person("alice")?;
    let mut web1 = fleet.managed("web1", &["tier=web"])?;
    // R08: on a machine that gives it 256 MiB.
    let limit = Memory::limited(256 * 1024 * 1024)?;
    fleet.kill_daemon()?;
    let within = fleet.vault.cmd("elevated", ["/usr/sbin/elevated", "run"]).within(&limit).spawn()?;
    within.expect("ready", PATIENCE)?;
    fleet.daemon = Some(within);
    web1.wait_connected(&fleet)?;
    let outside = fleet::installed_host(&fleet.lab, "outside")?;
    let daemon = fleet.daemon.as_ref().context("no daemon")?.pid();
    let before = memory(daemon, "VmRSS")?;
    let flood = Flood::start(&outside, &fleet.vault)?;
    let opened = Arc::clone(&flood.opened);
    eventually(PATIENCE, "the first thousand", || opened.load(Ordering::Relaxed) > 1000)?;
    // A person with a key, a person on a host, a host whose link has to connect anew.
    fleet.laptop.run("alice", ["elevate", "whoami"])?.success()?;
    web1.kill_link()?;
    web1.start_link()?;
    web1.wait_connected(&fleet)?;
    web1.activate(&mut alice, &["web-root", "-m", "an ordinary reason"], || Ok(()))?;
    ensure!(web1.sudo("alice", &["/usr/bin/id", "-u"])?.0 == 0, "no right");
    eventually(Duration::from_secs(90), "ten thousand and more", || {
        opened.load(Ordering::Relaxed) > MANY + 500
    })?;
    fleet.laptop.run("alice", ["elevate", "whoami"])?.success()?;
    let peak = memory(daemon, "VmHWM")?;
    println!(
        "resident: {before} KiB before, {peak} KiB at most, {} connections",
        opened.load(Ordering::Relaxed)
    );
    ensure!(peak < before + MEMORY_MAX, "the daemon grew from {before} to {peak} KiB");
    let held = flood.end()?;
    // Nobody who did not authenticate is there for longer than the deadline.
    let crowd = || {
        let ran = fleet.vault.run("root", ["ss", "-Htn", "state", "established", "sport = :7022"]).ok()?;
        Some(ran.stdout.lines().filter(|line| line.contains("10.77.200.")).count())
    };
    eventually(PATIENCE, "the crowd to be gone", || crowd() == Some(0))?;
    drop(held);
    ensure!(fleet.daemon.as_ref().context("no daemon")?.pid() == daemon, "another daemon");
    fleet.laptop.run("alice", ["elevate", "whoami"])?.success()?;
    ensure!(limit.kills()? == 0, "killed for want of memory");
    fleet.daemon = None;
    Ok(())
}
