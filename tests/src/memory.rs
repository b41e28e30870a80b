//! A bound on the memory of one program of a host, and what the kernel did to keep it.
//!
//! In: a number of bytes. Out: a cgroup for [`crate::Cmd::within`]; it goes with the value, and its programs with it.
//! Runs as: root. Spec: Linux Documentation/admin-guide/cgroup-v2.rst "Memory", and cgroup-v1/memory.rst for machines on which memory
//! is still counted by version 1.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{PATIENCE, eventually, places};

static GROUPS: AtomicU16 = AtomicU16::new(0);

/// A cgroup with a limit.
#[derive(Debug)]
pub struct Memory {
    dir: PathBuf,
    names: &'static Names,
}

/// What the kernel calls things.
#[derive(Debug)]
struct Names {
    limit: &'static str,
    usage: &'static str,
    peak: &'static str,
    /// The file that counts the kills, in a line `oom_kill N`.
    events: &'static str,
}

const OF_TWO: Names =
    Names { limit: "memory.max", usage: "memory.current", peak: "memory.peak", events: "memory.events" };
const OF_ONE: Names = Names {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    peak: "memory.max_usage_in_bytes",
    events: "memory.oom_control",
};

/// Where memory is counted, and by which version.
fn hierarchy() -> Result<(PathBuf, &'static Names)> {
    let root = places::cgroup_root()?;
    if fs::read_to_string(root.join("cgroup.controllers"))?.split_whitespace().any(|one| one == "memory") {
        fs::write(root.join("cgroup.subtree_control"), "+memory").context("memory is not counted below")?;
        return Ok((root, &OF_TWO));
    }
    let mounts = fs::read_to_string("/proc/mounts").context("cannot read /proc/mounts")?;
    let found = mounts.lines().find_map(|line| {
        let fields: Vec<_> = line.split(' ').collect();
        let [_, dir, "cgroup", options, ..] = fields.as_slice() else { return None };
        options.split(',').any(|option| option == "memory").then(|| Path::new(dir).to_owned())
    });
    Ok((found.context("no cgroup counts memory on this machine")?, &OF_ONE))
}

impl Memory {
    /// At most so many bytes, swap not counted: test machines have none.
    ///
    /// # Errors
    /// The machine counts no memory.
    pub fn limited(bytes: u64) -> Result<Self> {
        let (root, names) = hierarchy()?;
        let number = GROUPS.fetch_add(1, Ordering::Relaxed);
        let dir = root.join(format!("testbed-{}-memory-{number}", std::process::id()));
        fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let group = Self { dir, names };
        group.limit(bytes)?;
        Ok(group)
    }

    /// Another limit. Below what is used the kernel reclaims, kills, or (version 1) refuses.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn limit(&self, bytes: u64) -> Result<()> {
        fs::write(self.dir.join(self.names.limit), bytes.to_string()).context("no such limit")
    }

    /// How often the kernel has killed for want of memory here.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn kills(&self) -> Result<u64> {
        let text = fs::read_to_string(self.dir.join(self.names.events))?;
        let kills = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        Ok(kills.with_context(|| format!("no count: {text}"))?.parse()?)
    }

    /// Bytes used now, those of files that are cached included.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn used(&self) -> Result<u64> {
        self.number(self.names.usage)
    }

    /// The most that was ever used.
    ///
    /// # Errors
    /// The kernel does not say (before Linux 5.19).
    pub fn peak(&self) -> Result<u64> {
        self.number(self.names.peak)
    }

    fn number(&self, name: &str) -> Result<u64> {
        let text = fs::read_to_string(self.dir.join(name)).with_context(|| format!("cannot read {name}"))?;
        Ok(text.trim().parse()?)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // Where a test has failed its programs run on.
        let left = fs::read_to_string(self.dir.join("cgroup.procs")).unwrap_or_default();
        for pid in left.lines().filter_map(|pid| pid.parse().ok()) {
            // One that has ended since needs no signal.
            let _sent = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let gone = eventually(PATIENCE, "an empty cgroup", || fs::remove_dir(&self.dir).is_ok());
        if let Err(error) = gone {
            eprintln!("{}: {error}", self.dir.display());
        }
    }
}
