//! `elevated --check-config`: reads configuration, policy and keys as `run` would, and says what is in them and what a start would refuse.
//!
//! In: the files. Out: effective values on standard output, findings on standard error; exit code 0 or 2.

use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;

use elevate_protocol::text::escape;

use crate::app::{AppError, key_setup};
use crate::clock::Clock;
use crate::config::Config;
use crate::core::{look_at_keys, read_policy, restore};
use crate::keys::{KeyError, Keys};
use crate::log::chain;
use crate::{USAGE, config, keys, report};

/// Whether a backup was laid back, as far as that can be seen from outside. Whoever may not read the database hears that.
async fn look_at_the_database(folder: &Path) {
    match restore::seen_in(folder, Clock::system().now()).await {
        Ok(None) => {}
        Ok(Some(said)) => eprintln!("warning: {said}"),
        Err(error) => eprintln!("note: the database was not looked at: {}", escape(&chain(&error))),
    }
}

/// What a start would refuse of the keys.
async fn look_at_the_keys(config: &Config) -> Result<(), AppError> {
    let folder = keys::folder(&config.data_dir);
    // The daemon runs as whoever owns this folder; who looks may be root.
    let owner = std::fs::metadata(&folder).map_err(|source| KeyError::Read { path: folder, source })?.uid();
    Keys::read_of(owner, &config.data_dir)?;
    Ok(look_at_keys(&key_setup(config, owner), &config.data_dir, Clock::system().now()).await?)
}

/// What is wrong in the data folder, as far as whoever asks may look; none: the daemon starts with it, or nobody can say.
async fn look_at_the_data(config: &Config) -> Option<AppError> {
    if matches!(config.data_dir.try_exists(), Ok(false)) {
        let place = config.data_dir.display().to_string();
        eprintln!("note: {} is not there: neither database nor keys were looked at", escape(&place));
        return None;
    }
    look_at_the_database(&config.data_dir).await;
    let error = look_at_the_keys(config).await.err()?;
    if error.is_unseen() {
        eprintln!("note: the keys were not all looked at: {}", escape(&chain(&error)));
        return None;
    }
    Some(error)
}

/// Where nobody reads it any more, the exit code still tells.
fn show(text: &str) {
    drop(io::stdout().write_all(text.as_bytes()));
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
        Ok(text) => show(&text),
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
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            if let Some(error) = runtime.block_on(look_at_the_data(&config)) {
                report(&error);
                return ExitCode::from(USAGE);
            }
        }
        Err(error) => report(&error),
    }
    let (people, roles) = (policy.people().count(), policy.roles().count());
    show(&format!("\n# policy {}: {people} people, {roles} roles\n", policy.digest()));
    ExitCode::SUCCESS
}
