//! The other sudo as a layer for test hosts: sudo-rs where the classic one stands.
//!
//! In: the tree's own package of it, or `target/sudo-rs`, which `make sudo-rs` builds. Out: `target/testbed/sudo-rs`.
//! Runs as: root (part of `testbed tree`). Spec: sudo-rs "Installation".

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::places;

/// Where Debian's package `sudo-rs` keeps its programs, beside those of the package `sudo`.
const PACKAGED: &str = "usr/lib/cargo/bin";

/// What is laid over the tree, and with which mode.
const PROGRAMS: [(&str, &str, u32); 2] =
    [("sudo", "usr/bin/sudo", 0o4755), ("visudo", "usr/sbin/visudo", 0o755)];

/// Make the layer unless it is current. Nothing is made where sudo-rs is neither packaged nor built.
///
/// # Errors
/// A file cannot be written.
pub fn make(tree: &Path) -> Result<()> {
    let Some(from) = source(tree)? else { return Ok(()) };
    let layer = places::sudo_rs_dir()?;
    if is_current(&from, &layer) {
        return Ok(());
    }
    let fresh = layer.with_extension("new");
    super::tree::remove(&fresh)?;
    for folder in ["usr", "usr/bin", "usr/sbin"] {
        fs::create_dir_all(fresh.join(folder))?;
        fs::set_permissions(fresh.join(folder), Permissions::from_mode(0o755))?;
    }
    for (name, to, mode) in PROGRAMS {
        fs::copy(from.join(name), fresh.join(to))
            .with_context(|| format!("cannot copy {name} of sudo-rs"))?;
        fs::set_permissions(fresh.join(to), Permissions::from_mode(mode))?;
    }
    symlink("sudo", fresh.join("usr/bin/sudoedit"))?;
    super::tree::remove(&layer)?;
    fs::rename(&fresh, &layer).context("cannot put the layer in place")
}

/// The layer, for a host that is to have it.
///
/// # Errors
/// It was not made.
pub fn layer() -> Result<PathBuf> {
    let layer = places::sudo_rs_dir()?;
    ensure!(layer.join("usr/bin/sudo").is_file(), "{} is not there: run `make tree`", layer.display());
    Ok(layer)
}

fn source(tree: &Path) -> Result<Option<PathBuf>> {
    let built = places::bed_dir()?.with_file_name("sudo-rs").join("bin");
    let found = [tree.join("root").join(PACKAGED), built];
    Ok(found.into_iter().find(|folder| PROGRAMS.iter().all(|(name, ..)| folder.join(name).is_file())))
}

fn is_current(from: &Path, layer: &Path) -> bool {
    PROGRAMS.iter().all(|(name, to, _)| match (fs::read(from.join(name)), fs::read(layer.join(to))) {
        (Ok(wanted), Ok(there)) => wanted == there,
        (Err(_), _) | (_, Err(_)) => false,
    })
}
