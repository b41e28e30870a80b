//! A host's own wall clock, moved without touching the machine's.
//!
//! In: `tests/clock/clock.c`, cc. Out: `/etc/ld.so.preload` and `/etc/testbed-clock` in the host.
//! Runs as: root. Spec: ld.so(8); what it does not reach is said in clock.c.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::{Access, Host, places};

const SOURCE: &str = include_str!("../clock/clock.c");
const OFFSET: &str = "/etc/testbed-clock";
const LIBRARY: &str = "/usr/lib/testbed-clock.so";

/// The wall clock of one host; running programs see every change at once. It outlives a reboot.
#[derive(Clone, Debug)]
pub struct Clock(Host);

impl Host {
    /// Give the host a clock of its own, at first showing the machine's time.
    ///
    /// Programs that run already keep the machine's time for ever: call it before they start.
    ///
    /// # Errors
    /// There is no C compiler, or the host is off.
    pub fn clock(&self) -> Result<Clock> {
        if !self.exists(OFFSET) {
            self.write(OFFSET, 0i64.to_ne_bytes())?;
            self.install(library()?, LIBRARY, Access::root(0o755))?;
            self.write("/etc/ld.so.preload", format!("{LIBRARY}\n"))?;
        }
        Ok(Clock(self.clone()))
    }
}

impl Clock {
    /// Move the clock forward by this much more.
    ///
    /// # Errors
    /// The host is off, or the sum is beyond 292 years.
    pub fn advance(&self, by: Duration) -> Result<()> {
        let by = i64::try_from(by.as_nanos())?;
        self.set(self.offset()?.checked_add(by).context("too far in the future")?)
    }

    /// Move the clock back by this much.
    ///
    /// # Errors
    /// As [`Clock::advance`].
    pub fn turn_back(&self, by: Duration) -> Result<()> {
        let by = i64::try_from(by.as_nanos())?;
        self.set(self.offset()?.checked_sub(by).context("too far in the past")?)
    }

    /// How far it is from the machine's clock, in nanoseconds.
    ///
    /// # Errors
    /// The host is off.
    pub fn offset(&self) -> Result<i64> {
        let bytes = self.0.read_bytes(OFFSET)?;
        Ok(i64::from_ne_bytes(bytes.as_slice().try_into().context("the clock is damaged")?))
    }

    fn set(&self, offset: i64) -> Result<()> {
        // Not by a new file: running programs have this one mapped.
        self.0.overwrite(OFFSET, &offset.to_ne_bytes())
    }
}

fn library() -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    SOURCE.hash(&mut hasher);
    let dir = places::bed_dir()?;
    let done = dir.join(format!("clock-{:016x}.so", hasher.finish()));
    if !done.exists() {
        let work = tempfile::tempdir_in(&dir)?;
        let fresh = work.path().join("clock.so");
        compile(work.path(), &fresh)?;
        std::fs::rename(&fresh, &done)?;
    }
    Ok(done)
}

fn compile(dir: &Path, to: &Path) -> Result<()> {
    let source = dir.join("clock.c");
    std::fs::write(&source, SOURCE)?;
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-o"]).arg(to).arg(&source).arg("-ldl");
    let status = cc.status().context("cannot run cc (`make deps` installs it)")?;
    ensure!(status.success(), "cc failed: {status}");
    Ok(())
}
