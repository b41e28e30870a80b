//! A throw-away host to try things in.
//!
//! In: a host name and a command, both optional. Out: the command's streams and status.
//! Runs as: root (`testbed shell`). Spec: `testbed help`.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::Lab;

/// Boot one host and run the command, or a login shell, in it as root.
///
/// # Errors
/// See [`Lab::new`] and [`crate::Host::run`].
pub fn run(mut words: Vec<OsString>) -> Result<ExitCode> {
    let name = if words.is_empty() { OsString::from("web1") } else { words.remove(0) };
    if words.is_empty() {
        words.extend(["bash", "-l"].map(OsString::from));
    }
    let lab = Lab::new()?;
    let host = lab.host(name.to_str().context("the host name is not UTF-8")?)?;
    eprintln!("host {} pid {} cgroup {}", host.name(), host.pid()?, host.cgroup()?.display());
    let status = host.cmd("root", words).interactive()?;
    host.power_off()?;
    Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(255))?))
}
