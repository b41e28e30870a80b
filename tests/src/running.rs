//! A program that keeps running in a host.
//!
//! In: a started [`crate::Cmd`]. Out: its log, signals to it, its status.
//! Runs as: root. Spec: pidfd_send_signal(2).

use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::cmd::Started;
use crate::transcript::Transcript;

/// A running program; dropping it kills it (`kill -9`).
#[derive(Debug)]
#[must_use = "dropping it kills the program"]
pub struct Running {
    pub(crate) started: Started,
    pub(crate) log: Transcript,
}

impl Running {
    /// Its pid as the machine counts.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.started.pid
    }

    /// What it has said so far on both streams.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Wait until it has said this, ever.
    ///
    /// # Errors
    /// Not within `limit`, or it ended without.
    pub fn expect(&self, text: &str, limit: Duration) -> Result<()> {
        self.log.find(0, &[text], limit).map(drop)
    }

    /// Send a signal by number (`libc` numbering), say 1 for SIGHUP; one that has ended gets none.
    ///
    /// # Errors
    /// There is no such signal.
    pub fn signal(&self, number: i32) -> Result<()> {
        self.started.signal(Signal::from_named_raw(number).with_context(|| format!("no signal {number}"))?)
    }

    /// `kill -9`, and wait for its end.
    ///
    /// # Errors
    /// It does not end.
    pub fn kill9(mut self) -> Result<ExitStatus> {
        self.started.kill()?;
        self.wait(crate::PATIENCE)
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.started.wait(Duration::ZERO), Ok(None))
    }

    /// Wait for its end.
    ///
    /// # Errors
    /// It runs on after `limit`; the error quotes its log.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let status = self.started.wait(limit)?;
        status.with_context(|| format!("still running after {limit:?}; it said:\n{}", self.log()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nothing can be done about a failure here; the host's end kills it in any case.
        drop(self.started.kill());
        drop(self.started.wait(crate::PATIENCE));
    }
}
