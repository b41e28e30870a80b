//! `elevated` as a process: what the service manager hears of it, and what it leaves when it crashes. Threats B15, R07, R22.
//!
//! In: a folder of its own for each test, a real notify socket. Out: datagrams, the end of the process. Runs as: whoever runs the tests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};

const PATIENCE: Duration = Duration::from_secs(20);

fn elevated(place: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_elevated"));
    command.arg("--config").arg(place.join("etc/daemon.toml"));
    command
}

/// A daemon that is ready.
fn running(place: &Path, environment: &[(&str, &str)]) -> Child {
    let user = User::from_uid(geteuid()).unwrap().unwrap().name;
    let made = elevated(place)
        .args(["init", "--address", "daemon.example:7022", "--listen", "127.0.0.1:0", "--user", &user])
        .arg("--data-dir")
        .arg(place.join("lib"))
        .arg("--admin-socket")
        .arg(place.join("admin.sock"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut command = elevated(place);
    command.arg("run").envs(environment.iter().copied()).current_dir(place).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("ready, listening on")), "it ended before it was ready");
    // Whatever it says later has somewhere to go.
    std::thread::spawn(move || lines.for_each(drop));
    child
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
}

fn heard(socket: &UnixDatagram, within: Duration) -> Option<String> {
    socket.set_read_timeout(Some(within)).unwrap();
    let mut text = [0; 256];
    let length = socket.recv(&mut text).ok()?;
    Some(String::from_utf8_lossy(text.get(..length).unwrap()).into_owned())
}

#[test]
fn r22_a_daemon_says_that_it_works_until_it_is_stopped_and_again_when_it_goes_on() {
    let place = tempfile::tempdir().unwrap();
    let name = place.path().join("notify");
    let socket = UnixDatagram::bind(&name).unwrap();
    let environment = [("NOTIFY_SOCKET", name.to_str().unwrap()), ("WATCHDOG_USEC", "900000")];
    let mut daemon = running(place.path(), &environment);
    assert_eq!(heard(&socket, PATIENCE).as_deref(), Some("READY=1"));
    for _ in 0..3 {
        assert_eq!(heard(&socket, PATIENCE).as_deref(), Some("WATCHDOG=1"));
    }
    signal(&daemon, Signal::SIGSTOP);
    while heard(&socket, Duration::from_millis(50)).is_some() {}
    assert_eq!(heard(&socket, Duration::from_secs(2)), None);
    signal(&daemon, Signal::SIGCONT);
    assert_eq!(heard(&socket, PATIENCE).as_deref(), Some("WATCHDOG=1"));
    signal(&daemon, Signal::SIGTERM);
    let rest = std::iter::from_fn(|| heard(&socket, PATIENCE)).find(|word| word != "WATCHDOG=1");
    assert_eq!(rest.as_deref(), Some("STOPPING=1"));
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
}

/// How a process ends at SIGQUIT, with room for a core file: whether the kernel wrote one.
fn leaves_a_core(mut child: Child) -> bool {
    let pid = child.id().to_string();
    let prlimit = Command::new("prlimit").args(["--pid", &pid, "--core=unlimited"]).status().unwrap();
    assert!(prlimit.success());
    signal(&child, Signal::SIGQUIT);
    child.wait().unwrap().core_dumped()
}

#[test]
fn b15_a_daemon_that_crashes_leaves_no_copy_of_its_memory() {
    let place = tempfile::tempdir().unwrap();
    let sleeper = Command::new("sleep").arg("600").current_dir(place.path()).spawn().unwrap();
    assert!(leaves_a_core(sleeper), "this machine writes no core files, so nothing is proved");
    assert!(!leaves_a_core(running(place.path(), &[])));
}

/// Processor time in ticks of 10 ms: proc(5), fields 14 and 15.
fn ticks(child: &Child) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let (_, rest) = text.rsplit_once(") ").unwrap();
    rest.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}

fn limit(child: &Child, descriptors: u32) {
    let (pid, text) = (child.id().to_string(), format!("--nofile={descriptors}:1024"));
    assert!(Command::new("prlimit").args(["--pid", &pid, &text]).status().unwrap().success());
}

#[test]
fn r07_without_descriptors_the_daemon_waits_and_lets_people_in_when_there_are_some() {
    let place = tempfile::tempdir().unwrap();
    let mut daemon = running(place.path(), &[]);
    // What is open stays so; nothing more can be opened: 0, 1 and 2 are.
    limit(&daemon, 3);
    let mut root = UnixStream::connect(place.path().join("admin.sock")).unwrap();
    // No frame: whoever is let in is told so and sent away.
    root.write_all(&[0xff; 8]).unwrap();
    let before = ticks(&daemon);
    root.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    assert!(root.read(&mut [0; 64]).is_err(), "somebody was let in without a descriptor");
    let used = ticks(&daemon).checked_sub(before).unwrap();
    assert!(used < 20, "{used} of 200 ticks: it turns in circles");
    limit(&daemon, 1024);
    let begin = Instant::now();
    root.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(root.read(&mut [0; 64]).is_ok(), "nobody is let in any more");
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    signal(&daemon, Signal::SIGTERM);
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
}
