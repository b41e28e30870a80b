//! Reads the policy's folder: every `*.toml` in it, by name, as one policy.
//!
//! In: a folder. Out: a [`Policy`], or everything that is wrong with it. Bounded; symlinks to files are followed, since
//! only root writes there.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};

use elevate_policy::{Policy, PolicyError};

/// Most files.
const FILES_MAX: usize = 256;
/// Longest file in bytes.
const FILE_MAX: u64 = 4 * 1024 * 1024;

/// Why a policy could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PolicyReadError {
    /// The folder or a file cannot be read.
    #[error("cannot read {path}")]
    Files {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Too much.
    #[error("{path}: at most {FILES_MAX} files of {FILE_MAX} bytes")]
    TooMuch {
        /// Where.
        path: PathBuf,
    },
    /// What was read is no policy.
    #[error("the policy is not valid")]
    Policy {
        /// Every finding.
        #[from]
        source: PolicyError,
    },
}

/// Reads and checks the policy in a folder. A folder without files is an error of the policy, not an empty one.
///
/// # Errors
/// A [`PolicyReadError`].
pub(crate) fn read_policy(folder: &Path) -> Result<Policy, PolicyReadError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| PolicyReadError::Files { path, source }
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed(folder))? {
        let path = entry.map_err(failed(folder))?.path();
        let hidden = path.file_name().and_then(OsStr::to_str).is_none_or(|name| name.starts_with('.'));
        if !hidden && path.extension() == Some(OsStr::new("toml")) {
            paths.push(path);
        }
    }
    if paths.len() > FILES_MAX {
        return Err(PolicyReadError::TooMuch { path: folder.to_owned() });
    }
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        let mut text = String::new();
        let file = std::fs::File::open(&path).map_err(failed(&path))?;
        file.take(FILE_MAX.saturating_add(1)).read_to_string(&mut text).map_err(failed(&path))?;
        if u64::try_from(text.len()).unwrap_or(u64::MAX) > FILE_MAX {
            return Err(PolicyReadError::TooMuch { path });
        }
        files.push((path.display().to_string(), text));
    }
    Ok(Policy::parse(&files)?)
}
