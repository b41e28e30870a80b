//! `elevated --check-config`: reads configuration and policy as `run` would, and says what is in them.
//!
//! In: the files. Out: effective values on standard output, findings on standard error; exit code 0 or 2.

use std::path::Path;
use std::process::ExitCode;

use crate::core::read_policy;
use crate::{USAGE, config, report};

/// Checks; nothing is changed.
pub(crate) fn check(path: &Path) -> ExitCode {
    let config = match config::read(path) {
        Ok(config) => config,
        Err(error) => {
            report(&error);
            return ExitCode::from(USAGE);
        }
    };
    match toml::to_string(&config) {
        Ok(text) => print!("{text}"),
        Err(error) => {
            report(&error);
            return ExitCode::FAILURE;
        }
    }
    let policy = match read_policy(&config.policy_dir) {
        Ok(policy) => policy,
        Err(error) => {
            report(&error);
            return ExitCode::from(USAGE);
        }
    };
    for warning in policy.warnings() {
        eprintln!("warning: {warning}");
    }
    let (people, roles) = (policy.people().count(), policy.roles().count());
    println!("\n# policy {}: {people} people, {roles} roles", policy.digest());
    ExitCode::SUCCESS
}
