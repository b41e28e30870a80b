//! What systemd hears of a real agent, at a real notify socket: that it works, and nothing when it does not. Needs root.
//!
//! In: a socket, strace(1), which holds one thread and lets the others run. Out: datagrams. Threats B15, R22.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    reason = "a test ends with the first thing that is not as it should be"
)]

mod rig;

use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rig::{PATIENCE, Rig, until};

/// What the agent says within a time.
fn heard(socket: &UnixDatagram, within: Duration) -> Option<String> {
    socket.set_read_timeout(Some(within)).unwrap();
    let mut text = [0; 256];
    let length = socket.recv(&mut text).ok()?;
    Some(String::from_utf8_lossy(text.get(..length).unwrap()).into_owned())
}

/// Reads what came before, then hears nothing for several times as long as the agent may be silent.
fn is_silent(socket: &UnixDatagram) -> bool {
    while heard(socket, Duration::from_millis(1)).is_some() {}
    heard(socket, Duration::from_secs(3)).is_none()
}

fn traced(pid: u32) -> usize {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let texts = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("status")).ok());
    texts.filter(|text| !text.contains("TracerPid:\t0\n")).count()
}

/// Holds the thread that works, at whatever it does next.
fn hold(pid: u32) -> Child {
    let mut command = Command::new("/usr/bin/strace");
    command.args(["--quiet=all", "-e", "inject=all:delay_enter=600000000", "-p", &pid.to_string()]);
    let strace = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("strace", || traced(pid) == 1);
    strace
}

#[test]
fn r22_an_agent_whose_work_stands_still_no_longer_says_that_it_goes_on() {
    let mut rig = Rig::new();
    rig.kill();
    let place = rig.path("notify");
    let socket = UnixDatagram::bind(&place).unwrap();
    rig.start_with(&[("NOTIFY_SOCKET", place.to_str().unwrap()), ("WATCHDOG_USEC", "1500000")]);
    let words: Vec<String> = (0..4).filter_map(|_| heard(&socket, PATIENCE)).collect();
    assert!(words.contains(&"READY=1\n".to_owned()), "{words:?}");
    assert_eq!(words.iter().filter(|word| *word == "WATCHDOG=1\n").count(), 3, "{words:?}");

    let mut strace = hold(rig.pid());
    // The thread of the timer runs on, and so do the doors: they do not speak for the one that works.
    assert!(std::fs::read_dir(format!("/proc/{}/task", rig.pid())).unwrap().count() > 3);
    assert!(is_silent(&socket), "somebody else says that the work goes on");
    strace.kill().unwrap();
    strace.wait().unwrap();
    assert_eq!(heard(&socket, PATIENCE).as_deref(), Some("WATCHDOG=1\n"), "it works again");

    rig.stop();
    assert!(is_silent(&socket));
    rig.go_on();
    assert_eq!(heard(&socket, PATIENCE).as_deref(), Some("WATCHDOG=1\n"));
}

#[test]
fn an_agent_that_nobody_watches_says_only_that_it_is_ready() {
    let mut rig = Rig::new();
    rig.kill();
    let place = rig.path("notify");
    let socket = UnixDatagram::bind(&place).unwrap();
    let place = place.to_str().unwrap();
    // A time that is meant for another process is none for this one.
    rig.start_with(&[("NOTIFY_SOCKET", place), ("WATCHDOG_USEC", "1500000"), ("WATCHDOG_PID", "1")]);
    assert_eq!(heard(&socket, PATIENCE).as_deref(), Some("READY=1\n"));
    assert!(is_silent(&socket));
}

/// How a process ends at SIGQUIT, with room for a core file: whether the kernel wrote one.
fn leaves_a_core(mut child: Child) -> bool {
    use std::os::unix::process::ExitStatusExt;
    let pid = child.id().to_string();
    let prlimit =
        Command::new("/usr/bin/prlimit").args(["--pid", &pid, "--core=unlimited"]).status().unwrap();
    assert!(prlimit.success());
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid.parse().unwrap()),
        nix::sys::signal::Signal::SIGQUIT,
    )
    .unwrap();
    child.wait().unwrap().core_dumped()
}

#[test]
fn b15_an_agent_that_crashes_leaves_no_copy_of_its_memory() {
    let mut rig = Rig::new();
    let place = tempfile::tempdir().unwrap();
    let sleeper = Command::new("/bin/sleep").arg("600").current_dir(place.path()).spawn().unwrap();
    assert!(leaves_a_core(sleeper), "this machine writes no core files, so nothing is proved");
    assert!(!leaves_a_core(rig.take()));
}
