//! The switch of a lab: a network namespace with a bridge, and a mount namespace with the hosts' disks.
//!
//! In: `--disks DIR` (an empty directory to mount on), standard input as lifeline. Out: `READY`.
//! Runs as: root (`testbed switch`). Spec: network_namespaces(7), mount_namespaces(7), ip-link(8).

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::args::Args;

/// The bridge's own address; hosts count up from `10.77.0.1`.
pub const BRIDGE: &str = "10.77.255.254/16";

/// Make both namespaces, say `READY`, and hold them until standard input ends.
///
/// # Errors
/// Not root, or `ip` is missing.
pub fn run(args: &Args) -> Result<ExitCode> {
    let disks = Path::new(args.need("--disks")?);
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).context("cannot make namespaces")?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("cannot make / private")?;
    let options = Some("mode=700,size=4g,nr_inodes=1m");
    mount(Some("bed"), disks, Some("tmpfs"), MsFlags::MS_NOATIME, options)
        .context("cannot mount the disks")?;
    ip_batch(&format!(
        "link set lo up\nlink add br0 type bridge\nlink set br0 up\naddr add {BRIDGE} dev br0\n"
    ))?;
    let mut out = std::io::stdout();
    out.write_all(b"READY\n")?;
    out.flush()?;
    super::let_go_of_output()?;
    let mut rest = Vec::new();
    std::io::stdin().lock().read_to_end(&mut rest)?;
    Ok(ExitCode::SUCCESS)
}

fn ip_batch(lines: &str) -> Result<()> {
    let mut ip =
        Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().context("cannot run ip")?;
    ip.stdin.take().context("ip has no input")?.write_all(lines.as_bytes())?;
    let status = ip.wait()?;
    ensure!(status.success(), "ip failed: {status}");
    Ok(())
}
