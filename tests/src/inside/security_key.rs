//! A FIDO key without hardware: OpenSSH's own sk-dummy.so, out of the distribution's package openssh-tests.
//!
//! In: the machine's apt sources. Out: `target/testbed/sk-dummy.so`, made once; nothing is installed.
//! Runs as: root (`testbed tree`). Spec: ssh-keygen(1) "FIDO AUTHENTICATOR"; PROTOCOL.u2f of OpenSSH.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::places;

const PACKAGE: &str = "openssh-tests";
const INSIDE: &str = "usr/lib/openssh/regress/misc/sk-dummy/sk-dummy.so";

/// Fetches it unless it is there.
///
/// # Errors
/// The archive cannot be reached, or the package has no such file.
pub fn fetch() -> Result<PathBuf> {
    let home = places::bed_dir()?;
    let library = home.join("sk-dummy.so");
    if library.exists() {
        return Ok(library);
    }
    fs::create_dir_all(&home)?;
    let work = tempfile::tempdir_in(&home)?;
    let root = work.path().join("root");
    // Downloading as root into a folder of root's is what makes apt warn about its sandbox.
    run(
        Command::new("apt-get").args(["-qq", "-o", "APT::Sandbox::User=root", "download", PACKAGE]),
        work.path(),
    )?;
    let package = fs::read_dir(work.path())?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|end| end == "deb"))
        .context("apt-get downloaded no package")?;
    run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&root), work.path())?;
    // By rename: another run may look for it meanwhile.
    let found = root.join(INSIDE);
    fs::rename(&found, &library).with_context(|| format!("{PACKAGE} has no {INSIDE}"))?;
    Ok(library)
}

fn run(command: &mut Command, dir: &Path) -> Result<()> {
    let status = command.current_dir(dir).status().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}
