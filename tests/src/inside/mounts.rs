//! What a host sees as its file system.
//!
//! In: lower trees, a directory for what it writes, binds. Out: the new root of this mount namespace.
//! Runs as: PID 1 of a new host. Spec: pivot_root(2), Linux Documentation/filesystems/overlayfs.rst.

use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::Path;

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{chdir, pivot_root};

/// What to build the root from.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Read-only trees, uppermost first.
    pub lower: Vec<&'a str>,
    /// Holds `upper` (kept over a reboot), `work` and the mount point `root`.
    pub state: &'a Path,
    /// `SRC:DST`: directories or files of the machine that appear in the host.
    pub binds: Vec<&'a str>,
    /// systemd wants shared propagation (systemd.exec(5), LoadCredential=).
    pub shared: bool,
}

const NONE: Option<&str> = None;

/// Build the root and move into it; the machine's own tree is gone afterwards.
///
/// # Errors
/// A mount is refused: not root, or the trees do not exist.
pub fn enter(plan: &Plan<'_>) -> Result<()> {
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).context("cannot make / private")?;
    // Nothing above: a wrong path must fail here, not leave directories on the machine.
    for path in
        [plan.state.to_owned(), plan.state.join("upper"), plan.state.join("work"), plan.state.join("root")]
    {
        dir(path, 0o755)?;
    }
    let root = plan.state.join("root");
    let state = plan.state.display();
    let options = format!("lowerdir={},upperdir={state}/upper,workdir={state}/work", plan.lower.join(":"));
    mount(Some("overlay"), &root, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .with_context(|| format!("cannot mount overlay {options}"))?;
    for pair in &plan.binds {
        bind(pair, &root)?;
    }
    chdir(&root).context("cannot enter the new root")?;
    kernel_views()?;
    devices()?;
    let none = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    fresh("run", "run", "tmpfs", none, "mode=755")?;
    dir("run/lock", 0o1777)?;
    fresh("tmp", "tmp", "tmpfs", none, "mode=1777")?;
    dir("tmp/.old", 0o700)?;
    pivot_root(".", "tmp/.old").context("cannot pivot")?;
    chdir("/")?;
    umount2("/tmp/.old", MntFlags::MNT_DETACH).context("cannot leave the machine's tree")?;
    fs::remove_dir("/tmp/.old")?;
    if plan.shared {
        mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SHARED, NONE).context("cannot share /")?;
    }
    Ok(())
}

fn bind(pair: &str, root: &Path) -> Result<()> {
    let (from, to) = pair.split_once(':').with_context(|| format!("bind {pair}: no colon"))?;
    let target = root.join(to.trim_start_matches('/'));
    if fs::metadata(from).with_context(|| format!("cannot bind {from}"))?.is_dir() {
        fs::create_dir_all(&target)?;
    } else {
        fs::create_dir_all(target.parent().context("bind target has no parent")?)?;
        fs::File::create(&target)?;
    }
    mount(Some(from), &target, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)
        .with_context(|| format!("cannot bind {pair}"))
}

/// /proc, /sys and the cgroups. Most of /proc/sys is the machine's own: read-only, except `net`.
fn kernel_views() -> Result<()> {
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    fresh("proc", "proc", "proc", plain, "")?;
    // Not every kernel has it.
    let sysrq = fs::exists("proc/sysrq-trigger")?.then_some("proc/sysrq-trigger");
    for part in ["proc/sys", "proc/sys/net"].into_iter().chain(sysrq) {
        mount(Some(part), part, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)
            .with_context(|| format!("cannot bind {part}"))?;
    }
    for part in ["proc/sys"].into_iter().chain(sysrq) {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | plain;
        mount(NONE, part, NONE, flags, NONE).with_context(|| format!("cannot protect {part}"))?;
    }
    fresh("sysfs", "sys", "sysfs", plain | MsFlags::MS_RDONLY, "")?;
    fresh("cgroup2", "sys/fs/cgroup", "cgroup2", plain, "")
}

fn devices() -> Result<()> {
    fresh("dev", "dev", "tmpfs", MsFlags::MS_NOSUID, "mode=755")?;
    let nodes =
        [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
    for (name, major, minor) in nodes {
        let path = Path::new("dev").join(name);
        mknod(&path, SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(major, minor))
            .with_context(|| format!("cannot make {}", path.display()))?;
        fs::set_permissions(&path, Permissions::from_mode(0o666))?;
    }
    dir("dev/pts", 0o755)?;
    dir("dev/shm", 0o1777)?;
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    // gid 5 is `tty` on Debian and Ubuntu (base-passwd).
    fresh("devpts", "dev/pts", "devpts", quiet, "newinstance,ptmxmode=0666,mode=0620,gid=5")?;
    fresh("shm", "dev/shm", "tmpfs", MsFlags::MS_NOSUID | MsFlags::MS_NODEV, "mode=1777")?;
    symlink("pts/ptmx", "dev/ptmx")?;
    symlink("/proc/self/fd", "dev/fd")?;
    for (number, name) in ["stdin", "stdout", "stderr"].iter().enumerate() {
        symlink(format!("/proc/self/fd/{number}"), Path::new("dev").join(name))?;
    }
    Ok(())
}

fn fresh(source: &str, target: &str, kind: &str, flags: MsFlags, options: &str) -> Result<()> {
    mount(Some(source), target, Some(kind), flags, Some(options))
        .with_context(|| format!("cannot mount {kind} on {target}"))
}

fn dir(path: impl AsRef<Path>, mode: u32) -> Result<()> {
    let path = path.as_ref();
    match DirBuilder::new().mode(mode).create(path) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
        other => other.with_context(|| format!("cannot make {}", path.display()))?,
    }
    // The umask took bits away.
    fs::set_permissions(path, Permissions::from_mode(mode))
        .with_context(|| format!("cannot make {}", path.display()))
}
