//! A command inside a running host, with the exit status it had.
//!
//! In: `--pid --cgroup --memory --user --dir --env --pid-to`, then the command. Out: its streams and status.
//! Runs as: root, then the named user of the host (`testbed exec`). Spec: setns(2), credentials(7).

use std::ffi::CString;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, raise};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{User, chdir, fchown, initgroups, setresgid, setresuid, setsid};
use rustix::process::{Pid, PidfdFlags, ioctl_tiocsctty, pidfd_open};

use super::args::Args;
use super::cgroup;

/// The options of `testbed exec`.
pub const OPTIONS: &[&str] = &["--pid", "--cgroup", "--user", "--dir", "--env", "--memory", "--pid-to"];

/// Search path of a command inside a host.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Enter the host but for its mounts, start the second half there, and end as it ended.
///
/// `--pid-to` names an abstract socket that gets the command's pid as the machine counts.
///
/// # Errors
/// The host is gone.
pub fn launch(args: &Args, words: Vec<std::ffi::OsString>) -> Result<ExitCode> {
    let pid = Pid::from_raw(args.pid("--pid")?).context("no such pid")?;
    let host = pidfd_open(pid, PidfdFlags::empty()).context("the host is gone")?;
    let listener = args.one("--pid-to").map(connect).transpose()?;
    cgroup::join(Path::new(args.need("--cgroup")?))?;
    if let Some(memory) = args.one("--memory") {
        cgroup::join(Path::new(memory))?;
    }
    // The mount namespace comes last, in the child: until then /proc/self/exe is this program.
    let spaces = CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWCGROUP;
    setns(&host, spaces).context("cannot enter the host")?;
    let mut child = Command::new("/proc/self/exe")
        .arg("exec-inside")
        .args(words)
        .spawn()
        .context("cannot start the command")?;
    if let Some(mut listener) = listener {
        listener.write_all(format!("{}\n", child.id()).as_bytes()).context("nobody takes the pid")?;
    }
    super::let_go_of_input()?;
    super::let_go_of_output()?;
    end_like(child.wait()?)
}

fn connect(name: &str) -> Result<UnixStream> {
    let address = SocketAddr::from_abstract_name(name)?;
    UnixStream::connect_addr(&address).context("cannot reach the harness")
}

fn end_like(status: ExitStatus) -> Result<ExitCode> {
    let Some(signal) = status.signal() else {
        return Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(255))?));
    };
    // The same death, without a core of this program. Should the signal be ignored here, the shell's form of it.
    nix::sys::prctl::set_dumpable(false)?;
    raise(Signal::try_from(signal)?)?;
    Ok(ExitCode::from(u8::try_from(signal.saturating_add(128))?))
}

/// Second half: already in the host's pid namespace; becomes the command.
///
/// # Errors
/// The host has no such user, or no such program.
pub fn inside(args: &Args) -> Result<ExitCode> {
    let mounts = File::open(format!("/proc/{}/ns/mnt", args.pid("--pid")?)).context("the host is gone")?;
    setns(mounts, CloneFlags::CLONE_NEWNS).context("cannot enter the host's mounts")?;
    setsid()?;
    if std::io::stdin().is_terminal() {
        ioctl_tiocsctty(std::io::stdin()).context("cannot take the terminal")?;
    }
    super::drop_dangerous_capabilities()?;
    let name = args.one("--user").unwrap_or("root");
    let user = User::from_name(name)?.with_context(|| format!("the host has no user {name}"))?;
    if std::io::stdin().is_terminal() {
        // As login(1) and sshd(8) do: a terminal is its user's.
        fchown(std::io::stdin(), Some(user.uid), None).context("cannot give the terminal to its user")?;
    }
    initgroups(&CString::new(name)?, user.gid)?;
    setresgid(user.gid, user.gid, user.gid)?;
    setresuid(user.uid, user.uid, user.uid)?;
    umask(Mode::from_bits_truncate(0o022));
    match args.one("--dir") {
        Some(dir) => chdir(dir).with_context(|| format!("cannot enter {dir}"))?,
        None => chdir(&user.dir).or_else(|_| chdir("/"))?,
    }
    // A launcher killed by the harness takes its command along (setuid programs are exempt: execve(2)).
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    let (program, rest) = args.rest.split_first().context("no command")?;
    let mut command = Command::new(program);
    command.args(rest).env_clear().env("PATH", PATH).env("LANG", "C.UTF-8").env("TERM", "xterm");
    command.env("HOME", &user.dir).env("SHELL", &user.shell).env("USER", name).env("LOGNAME", name);
    for pair in args.all("--env") {
        let (key, value) = pair.split_once('=').with_context(|| format!("--env {pair}: no ="))?;
        command.env(key, value);
    }
    Err(command.exec()).with_context(|| format!("cannot execute {}", program.display()))
}
