//! Numbers from samples and from /proc.
//!
//! In: durations, process ids. Out: quantiles, resident memory, CPU time. Runs as: root.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// The value below which `part` of a hundred samples lie; the highest for 100.
pub(crate) fn percentile(samples: &[f64], part: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (part / 100.0 * count(sorted.len())).ceil().max(1.0);
    let mut at = 0.0;
    for (index, value) in sorted.iter().enumerate() {
        at = *value;
        if count(index.saturating_add(1)) >= rank {
            break;
        }
    }
    at
}

/// A count as a number to calculate with; exact far beyond any count here.
pub(crate) fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}

/// Milliseconds.
pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// A line of `/proc/PID/status`, in KiB.
fn status(pid: i32, key: &str) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)).context("no such line in status")?;
    Ok(line.trim_matches(|c: char| !c.is_ascii_digit()).parse()?)
}

/// Resident memory of a process in KiB.
pub(crate) fn resident(pid: i32) -> Result<f64> {
    status(pid, "VmRSS:")
}

/// Proportional share of memory of a process in KiB: shared pages divided among those who share them.
pub(crate) fn proportional(pid: i32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss")?;
    Ok(line.trim_matches(|c: char| !c.is_ascii_digit()).parse()?)
}

/// CPU time of all threads that a process has, in ms, from their schedstat.
pub(crate) fn schedstat(pid: i32) -> Result<f64> {
    let mut nanos = 0u64;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the two.
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        let own: u64 = text.split(' ').next().context("no schedstat")?.parse()?;
        nanos = nanos.saturating_add(own);
    }
    Ok(Duration::from_nanos(nanos).as_secs_f64() * 1000.0)
}

/// CPU time of a process since it began, in ms, the threads that ended among it.
pub(crate) fn cpu(pid: i32) -> Result<f64> {
    let clock = nix::time::clock_getcpuclockid(nix::unistd::Pid::from_raw(pid))?;
    Ok(millis(Duration::from(clock.now()?)))
}
