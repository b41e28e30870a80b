//! The two services of a host, where systemd runs.
//!
//! In: systemctl(1). Out: started and enabled, or what to type. Without systemd nothing is started: somebody else supervises.

use std::path::Path;
use std::time::Duration;

use crate::child;
use crate::paths::Paths;

/// The units.
const UNITS: [&str; 2] = ["elevate-agent.service", "elevate-link.service"];
/// How long systemctl may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// What became of the services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Services {
    /// systemd did it.
    Done,
    /// systemd did not run on this machine.
    NoSystemd,
    /// systemd refused.
    Failed(String),
}

/// Enables and starts them.
#[must_use]
pub(crate) fn start() -> Services {
    systemctl(&["enable", "--now"])
}

/// Stops and disables them.
#[must_use]
pub(crate) fn stop() -> Services {
    systemctl(&["disable", "--now"])
}

fn systemctl(verb: &[&str]) -> Services {
    // sd_booted(3).
    if !Path::new("/run/systemd/system").is_dir() {
        return Services::NoSystemd;
    }
    let Some(program) = Paths::program("systemctl") else { return Services::NoSystemd };
    let arguments: Vec<&str> = verb.iter().copied().chain(UNITS).collect();
    match child::run(&program, &arguments, DEADLINE) {
        Ok(answer) if answer.code == Some(0) => Services::Done,
        Ok(answer) => Services::Failed(answer.stderr.trim().to_owned()),
        Err(error) => Services::Failed(error.to_string()),
    }
}
