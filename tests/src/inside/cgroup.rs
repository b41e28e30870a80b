//! The cgroup of one host: join, kill all, remove.
//!
//! In: its directory. Out: an empty machine.
//! Runs as: root. Spec: cgroups(7), Linux Documentation/admin-guide/cgroup-v2.rst "cgroup.kill".

use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Put the calling process into the cgroup.
///
/// # Errors
/// The cgroup does not exist or refuses.
pub fn join(dir: &Path) -> Result<()> {
    fs::write(dir.join("cgroup.procs"), "0").with_context(|| format!("cannot join {}", dir.display()))
}

/// Kill every process in it and below, wait until none is left, remove the directories.
///
/// # Errors
/// A process survives for 10 s (it hangs in the kernel).
pub fn destroy(dir: &Path) -> Result<()> {
    match fs::write(dir.join("cgroup.kill"), "1") {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        other => other.with_context(|| format!("cannot kill {}", dir.display()))?,
    }
    // The kernel reports every change of `populated` as POLLPRI; each read arms the next report.
    let events = fs::File::open(dir.join("cgroup.events"))?;
    while fs::read_to_string(dir.join("cgroup.events"))?.contains("populated 1") {
        let mut fds = [PollFd::new(events.as_fd(), PollFlags::POLLPRI)];
        if poll(&mut fds, PollTimeout::from(10_000u16))? == 0 {
            bail!("processes survive in {}", dir.display());
        }
        let _armed: Vec<u8> = read_again(&events)?;
    }
    remove(dir)
}

fn read_again(mut file: &fs::File) -> Result<Vec<u8>> {
    use std::io::{Read, Seek};
    file.rewind()?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    Ok(text)
}

fn remove(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(dir).with_context(|| format!("cannot remove {}", dir.display()))
}
