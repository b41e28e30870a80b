//! `elevated --check-config`: reads configuration and policy as `run` would, and says what is in them.
//!
//! In: the files. Out: effective values on standard output, findings on standard error; exit code 0 or 2.

use std::path::Path;
use std::process::ExitCode;

use elevate_protocol::text::escape;

use crate::clock::Clock;
use crate::core::{read_policy, restore};
use crate::log::chain;
use crate::{USAGE, config, report};

/// Whether a backup was laid back, as far as that can be seen from outside. Whoever may not read the database hears that.
fn look_at_the_database(folder: &Path) {
    let seen = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(restore::seen_in(folder, Clock::system().now())),
        Err(error) => return report(&error),
    };
    match seen {
        Ok(None) => {}
        Ok(Some(said)) => eprintln!("warning: {said}"),
        Err(error) => eprintln!("note: the database was not looked at: {}", escape(&chain(&error))),
    }
}

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
    look_at_the_database(&config.data_dir);
    let (people, roles) = (policy.people().count(), policy.roles().count());
    println!("\n# policy {}: {people} people, {roles} roles", policy.digest());
    ExitCode::SUCCESS
}
