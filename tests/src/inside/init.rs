//! A test host: the launcher outside, and PID 1 inside.
//!
//! In: `--name --lower --state --lab --cgroup --bind --exec`, standard input as lifeline. Out: `READY <pid>`.
//! Runs as: root (`testbed init`). Spec: pid_namespaces(7), unshare(2).

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use rustix::process::{Pid, PidfdFlags, kill_process, pidfd_open};

use super::args::Args;
use super::{cgroup, mounts};

/// The options of `testbed init`.
pub const OPTIONS: &[&str] = &["--name", "--lower", "--state", "--lab", "--cgroup", "--bind", "--exec"];

/// Start PID 1 in a new pid namespace, say `READY <pid>`, and end the host with standard input.
///
/// # Errors
/// Not root, or PID 1 could not build its host (it says why on standard error).
pub fn launch(args: &Args, words: Vec<std::ffi::OsString>) -> Result<ExitCode> {
    let group = Path::new(args.need("--cgroup")?);
    std::fs::create_dir_all(group).with_context(|| format!("cannot make {}", group.display()))?;
    let lab =
        std::fs::File::open(format!("/proc/{}/ns/mnt", args.pid("--lab")?)).context("the lab is gone")?;
    setns(lab, CloneFlags::CLONE_NEWNS).context("cannot enter the lab")?;
    unshare(CloneFlags::CLONE_NEWPID).context("cannot make a pid namespace")?;
    let (mut ready, told) = std::io::pipe()?;
    // The Command must be gone before the read below: it holds the other end of the pipe.
    let mut first = {
        let mut first = Command::new("/proc/self/exe");
        first.arg("init-inside").args(words).stdin(Stdio::null()).stdout(told);
        first.spawn().context("cannot start PID 1")?
    };
    let pid = i32::try_from(first.id())?;
    if ready.read(&mut [0; 1])? != 1 {
        let status = first.wait()?;
        cgroup::destroy(group)?;
        bail!("PID 1 gave up: {status}");
    }
    let mut out = std::io::stdout();
    out.write_all(format!("READY {pid}\n").as_bytes())?;
    out.flush()?;
    super::let_go_of_output()?;
    let pid = Pid::from_raw(pid).context("PID 1 has no pid")?;
    until_either_ends(pid)?;
    // The cgroup also holds processes that entered the host and whose parents live outside: a zombie of
    // such a parent would keep the dead pid namespace, and with it the mounts, alive.
    let killed = cgroup::destroy(group);
    // It may have ended by itself.
    let _ended = kill_process(pid, rustix::process::Signal::KILL);
    first.wait()?;
    killed?;
    Ok(ExitCode::SUCCESS)
}

fn until_either_ends(pid: Pid) -> Result<()> {
    let host = pidfd_open(pid, PidfdFlags::empty())?;
    let mut input = std::io::stdin();
    loop {
        let lifeline = input.as_fd();
        let mut fds =
            [PollFd::new(lifeline, PollFlags::POLLIN), PollFd::new(host.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            other => other?,
        };
        let [lifeline, host] = fds;
        let over = host.any().unwrap_or(true);
        let heard = lifeline.any().unwrap_or(true);
        if over || (heard && input.read(&mut [0; 64])? == 0) {
            return Ok(());
        }
    }
}

/// PID 1: build the host, then reap until told to end, or become another init.
///
/// # Errors
/// A step of building the host failed.
pub fn inside(args: &Args) -> Result<ExitCode> {
    // The launcher has one thread, so its death is the death of this process's parent (PR_SET_PDEATHSIG(2const)).
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    cgroup::join(Path::new(args.need("--cgroup")?))?;
    let apart = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        // After joining, so that the host sees its own cgroup as the root of all.
        | CloneFlags::CLONE_NEWCGROUP;
    unshare(apart).context("cannot make namespaces")?;
    let exec = args.one("--exec");
    if exec.is_none() {
        nix::unistd::setsid()?;
    }
    let name = args.need("--name")?;
    mounts::enter(&mounts::Plan {
        lower: args.all("--lower").collect(),
        state: Path::new(args.need("--state")?),
        binds: args.all("--bind").collect(),
        shared: exec.is_some(),
    })?;
    nix::unistd::sethostname(name)?;
    std::fs::write("/etc/hostname", format!("{name}\n"))?;
    super::drop_dangerous_capabilities()?;
    let signals = block_signals(exec)?;
    std::io::stdout().write_all(b"R")?;
    std::io::stdout().flush()?;
    super::let_go_of_output()?;
    match exec {
        Some(program) => Err(Command::new(program).env_clear().env("container", "testbed").exec())
            .context("cannot execute init"),
        None => reap(&signals),
    }
}

fn block_signals(exec: Option<&str>) -> Result<SigSet> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    signals.add(Signal::SIGTERM);
    if exec.is_none() {
        signals.thread_block()?;
    }
    Ok(signals)
}

fn reap(signals: &SigSet) -> Result<ExitCode> {
    loop {
        if signals.wait()? == Signal::SIGTERM {
            return Ok(ExitCode::SUCCESS);
        }
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => break,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(e) => return Err(e).context("cannot reap"),
            }
        }
    }
}
