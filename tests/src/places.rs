//! Where the bed finds things on the machine.
//!
//! In: the path of the running program, `/proc/mounts`. Out: paths.
//! Runs as: anybody. Spec: proc_pid_mounts(5), cgroups(7).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The directory with the programs of this build: `target/<profile>`.
///
/// # Errors
/// The running program has no path.
pub fn programs() -> Result<PathBuf> {
    let own = std::env::current_exe().context("the running program has no path")?;
    let dir = own.parent().context("the running program has no directory")?;
    // Test programs and benches lie one level deeper than programs.
    let dir =
        if dir.ends_with("deps") || dir.ends_with("examples") { dir.parent().unwrap_or(dir) } else { dir };
    Ok(dir.to_owned())
}

/// One program of this build.
///
/// # Errors
/// It has not been built.
pub fn program(name: &str) -> Result<PathBuf> {
    let path = programs()?.join(name);
    ensure!(path.exists(), "{} has not been built", path.display());
    Ok(path)
}

/// Where the bed keeps what outlives one test: `target/testbed`.
///
/// # Errors
/// As [`programs`].
pub fn bed_dir() -> Result<PathBuf> {
    let programs = programs()?;
    let target = programs.parent().context("the target directory has no parent")?;
    Ok(target.join("testbed"))
}

/// The tree that `testbed tree` makes: a directory with `root` and `stamp`. That of another release than the machine's
/// lies beside it.
///
/// # Errors
/// As [`programs`].
pub fn tree_dir() -> Result<PathBuf> {
    of_release("tree")
}

/// The layer with sudo-rs for hosts of that tree.
///
/// # Errors
/// As [`programs`].
pub fn sudo_rs_dir() -> Result<PathBuf> {
    of_release("sudo-rs")
}

fn of_release(name: &str) -> Result<PathBuf> {
    let name = match crate::inside::tree::wanted_release() {
        Some(release) => format!("{name}-{release}"),
        None => name.to_owned(),
    };
    Ok(bed_dir()?.join(name))
}

/// The software security key that `testbed tree` fetches beside the tree.
///
/// # Errors
/// It is not there.
pub fn security_key() -> Result<PathBuf> {
    let library = bed_dir()?.join("sk-dummy.so");
    ensure!(library.exists(), "{} is not there: run `make tree` first", library.display());
    Ok(library)
}

/// Root of a current tree.
///
/// # Errors
/// There is none, or it was made from another list of packages.
pub fn tree_root() -> Result<PathBuf> {
    let tree = tree_dir()?;
    let stamp = fs::read_to_string(tree.join("stamp")).unwrap_or_default();
    let current = crate::inside::tree::stamp()?;
    ensure!(stamp == current, "no current tree in {}: run `make tree` first", tree.display());
    Ok(tree.join("root"))
}

/// Where cgroup v2 is mounted: `/sys/fs/cgroup`, or `/sys/fs/cgroup/unified` on hybrid machines.
///
/// # Errors
/// No cgroup v2 is mounted.
pub fn cgroup_root() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").context("cannot read /proc/mounts")?;
    let found = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (dir, kind) = (fields.next()?, fields.next()?);
        (kind == "cgroup2" && dir.starts_with("/sys/")).then(|| Path::new(dir).to_owned())
    });
    found.context("no cgroup v2 is mounted below /sys: test hosts need it")
}
