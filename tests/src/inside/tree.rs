//! The lower tree of all test hosts: a minimal system of the machine's own release, or of the one that
//! `ELEVATE_TEST_RELEASE` names, made once.
//! In: the machine's apt sources and settings. Out: `target/testbed/tree/{root,stamp}`.
//! Runs as: root (`testbed tree`). Spec: mmdebstrap(1), sources.list(5).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{Flock, FlockArg};

use super::{sources, sudo_rs};
use crate::places;

/// What a test host has besides the essential packages of the release.
const PACKAGES: &[&str] = &[
    "iproute2",
    "libpam-runtime",
    "openssh-client",
    "openssh-server",
    "pamtester",
    "passwd",
    "procps",
    "rsyslog",
    "sudo",
    "systemd-sysv",
    "util-linux",
];

/// Releases of Debian whose sudo-rs is old enough that theirs is worth testing, beside the one that is built.
const WITH_SUDO_RS: &[&str] = &["trixie"];

/// Raised when the way the tree is made changes, so that old trees are made again.
const RECIPE: u32 = 1;

/// Documentation in the tree costs half a minute of unpacking on slow disks and is never read.
const WITHOUT: &[&str] =
    &["/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*"];

/// Settings of apt that decide whether and how packages are reached; everything else stays the default.
const APT_SETTINGS: &[&str] =
    &["Acquire::http", "Acquire::https", "Acquire::ftp", "Acquire::Check-", "Acquire::Retries"];

/// What the stamp of a current tree says.
///
/// # Errors
/// `/etc/os-release` cannot be read or names no release.
pub fn stamp() -> Result<String> {
    let release = release()?;
    Ok(format!("recipe {RECIPE}\nrelease {release}\n{}\n", packages(&release).join("\n")))
}

/// The release that was asked for, when it is another one than the machine's.
#[must_use]
pub fn wanted_release() -> Option<String> {
    let wanted = std::env::var("ELEVATE_TEST_RELEASE").ok()?;
    let plain = !wanted.is_empty() && wanted.bytes().all(|byte| byte.is_ascii_lowercase());
    (plain && own_release().is_ok_and(|own| own != wanted)).then_some(wanted)
}

fn packages(release: &str) -> Vec<&'static str> {
    let more = if WITH_SUDO_RS.contains(&release) { &["sudo-rs"][..] } else { &[] };
    PACKAGES.iter().chain(more).copied().collect()
}

/// Make the tree unless a current one is there; a second caller waits for the first.
///
/// # Errors
/// Not root, mmdebstrap missing or failed.
pub fn make() -> Result<PathBuf> {
    ensure!(nix::unistd::geteuid().is_root(), "the tree is made as root: use `make tree`");
    let tree = places::tree_dir()?;
    let home = tree.parent().context("the tree has no parent directory")?.to_owned();
    fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
    let lock = fs::File::create(home.join("tree.lock"))?;
    let _lock =
        Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, e)| e).context("cannot lock the tree")?;
    let stamp = stamp()?;
    if fs::read_to_string(tree.join("stamp")).is_ok_and(|there| there == stamp) {
        sudo_rs::make(&tree)?;
        return Ok(tree);
    }
    let fresh = tree.with_extension("new");
    remove(&fresh)?;
    fs::create_dir(&fresh)?;
    unpack(&fresh)?;
    clean(&fresh.join("root"))?;
    fs::write(fresh.join("stamp"), stamp)?;
    let old = tree.with_extension("old");
    remove(&old)?;
    if tree.exists() {
        fs::rename(&tree, &old)?;
    }
    fs::rename(&fresh, &tree)?;
    remove(&old)?;
    sudo_rs::make(&tree)?;
    Ok(tree)
}

fn unpack(fresh: &Path) -> Result<()> {
    let release = release()?;
    let lists = sources::of_this_machine(&own_release()?, &release)?;
    let mut mm = Command::new("mmdebstrap");
    mm.args(["--mode=root", "--variant=minbase", "--format=directory", "--quiet"]);
    mm.arg(format!("--include={}", packages(&release).join(",")));
    for path in WITHOUT {
        mm.arg(format!("--dpkgopt=path-exclude={path}"));
    }
    let settings = fresh.join("apt.conf");
    fs::write(&settings, apt_settings()?)?;
    mm.arg(format!("--aptopt={}", settings.display()));
    mm.arg(&release).arg(fresh.join("root"));
    for (name, text) in [("one-line.list", &lists.one_line), ("deb822.sources", &lists.deb822)] {
        if !text.is_empty() {
            let path = fresh.join(name);
            fs::write(&path, text)?;
            mm.arg(path);
        }
    }
    let status = mm.status().context("cannot start mmdebstrap (`make deps` installs it)")?;
    ensure!(status.success(), "mmdebstrap failed: {status}");
    Ok(())
}

/// Take away what must be each host's own, and what the machine's apt settings left behind.
fn clean(root: &Path) -> Result<()> {
    for name in ["hostname", "resolv.conf", "machine-id", "apt/apt.conf.d/99mmdebstrap"] {
        remove(&root.join("etc").join(name))?;
    }
    remove(&root.join("etc/apt/sources.list"))?;
    for dir in ["etc/apt/sources.list.d", "var/cache/apt/archives", "var/lib/apt/lists"] {
        for entry in fs::read_dir(root.join(dir))? {
            remove(&entry?.path())?;
        }
    }
    for entry in fs::read_dir(root.join("etc/ssh"))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("ssh_host_") {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn apt_settings() -> Result<String> {
    let dump = Command::new("apt-config").arg("dump").output().context("cannot run apt-config")?;
    ensure!(dump.status.success(), "apt-config failed: {}", dump.status);
    let dump = String::from_utf8(dump.stdout).context("apt-config printed no UTF-8")?;
    let wanted = |line: &&str| APT_SETTINGS.iter().any(|name| line.starts_with(name));
    Ok(dump.lines().filter(wanted).flat_map(|line| [line, "\n"]).collect())
}

fn release() -> Result<String> {
    wanted_release().map_or_else(own_release, Ok)
}

fn own_release() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let Some(name) = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")) else {
        bail!("/etc/os-release names no VERSION_CODENAME: the test hosts need Debian or Ubuntu");
    };
    Ok(name.trim_matches('"').to_owned())
}

pub(super) fn remove(path: &Path) -> Result<()> {
    let gone = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match gone {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
