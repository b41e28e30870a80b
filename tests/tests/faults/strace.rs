//! A program under strace: its changes recorded, or a fault at one of them.
//!
//! In: a command. Out: the same command, run by strace, which is its child's tracer and not its parent (`strace -D`).
//! Spec: strace(1) "Tampering".

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::point::{CALLS, Mode, Strike};

/// What strace does with a program.
#[derive(Debug, Clone)]
pub(crate) enum Plan {
    /// Nothing: it is not there.
    Leave,
    /// Writes every change to a disk down.
    Record,
    /// Strikes.
    Strike(Strike),
}

/// The command under strace. `base` is the folder that points are below; the trace goes to `trace`.
pub(crate) fn wrap(command: &[OsString], plan: &Plan, (base, trace): (&Path, &Path)) -> Command {
    let mut strace = Command::new("/usr/bin/strace");
    strace.args(["-D", "-f", "-qq", "-e", "signal=none", "-o"]).arg(trace);
    match plan {
        Plan::Leave => {
            let mut plain = Command::new(&command[0]);
            plain.args(&command[1..]);
            return plain;
        }
        Plan::Record => {
            strace.args(["--seccomp-bpf", "-y", "-s", "0", "-e", &format!("trace={CALLS}")]);
        }
        Plan::Strike(Strike { point, mode }) => {
            let (call, nth) = (&point.call, point.nth);
            // With seccomp the call is entered already when strace sees it: a signal would come too late.
            if *mode != Mode::Before {
                strace.arg("--seccomp-bpf");
            }
            let what = match mode {
                Mode::Before => "signal=KILL",
                Mode::After | Mode::Power => "delay_exit=120000000",
                Mode::Eio => "error=EIO",
                Mode::Enospc => "error=ENOSPC",
            };
            strace.arg("-P").arg(base.join(&point.path));
            strace.args(["-e", &format!("trace={call}"), "-e", &format!("inject={call}:{what}:when={nth}")]);
        }
    }
    strace.args(command);
    strace
}

/// Kills a program that strace holds. First the program: let go by its tracer alone it would go on.
fn execute(pid: i32) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:")?.trim().parse().ok());
    for pid in [Some(pid), tracer.filter(|pid| *pid != 0)].into_iter().flatten() {
        let sent = kill(Pid::from_raw(pid), Signal::SIGKILL);
        assert!(matches!(sent, Ok(()) | Err(Errno::ESRCH)), "{sent:?}");
    }
}

/// Whether the fault was there.
pub(crate) fn struck(trace: &Path) -> bool {
    let text = std::fs::read(trace).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    ["(DELAYED)", "(INJECTED)", "= ?"].iter().any(|mark| text.contains(mark))
}

/// Kills a program as soon as strace holds it behind the call of [`Mode::After`] or [`Mode::Power`].
#[derive(Debug)]
pub(crate) struct Executioner {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Executioner {
    /// For the process `pid` of this trace; nobody where the plan does not hold it. `first` is done before it is killed.
    pub(crate) fn wait(
        pid: u32,
        plan: &Plan,
        (trace, first): (PathBuf, impl FnOnce() + Send + 'static),
    ) -> Option<Self> {
        if !matches!(plan, Plan::Strike(Strike { mode: Mode::After | Mode::Power, .. })) {
            return None;
        }
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                if struck(&trace) {
                    first();
                    execute(pid.try_into().unwrap());
                    return;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Some(Self { over, thread: Some(thread) })
    }
}

impl Drop for Executioner {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}
