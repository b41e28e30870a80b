//! The parts of the helper program `testbed`: what runs as root around and inside a test host.
//!
//! In: argv. Out: namespaces, mounts, commands inside hosts, the tree.
//! Runs as: root. Spec: namespaces(7), cgroups(7), `testbed help`.

pub mod args;
pub mod cgroup;
pub mod enter;
pub mod init;
pub mod mounts;
pub mod security_key;
pub mod shell;
pub mod sources;
pub mod speak;
pub mod sudo_rs;
pub mod switch;
pub mod tree;

use anyhow::{Context, Result};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};

/// Capabilities that reach through the namespaces to the machine itself (capabilities(7)).
const DANGEROUS: [CapabilitySet; 6] = [
    CapabilitySet::SYS_MODULE,
    CapabilitySet::SYS_RAWIO,
    CapabilitySet::SYS_BOOT,
    CapabilitySet::SYS_TIME,
    CapabilitySet::MKNOD,
    CapabilitySet::SYSLOG,
];

/// Give up for ever, for this process and all it executes, what would reach the machine.
fn drop_dangerous_capabilities() -> Result<()> {
    for capability in DANGEROUS {
        remove_capability_from_bounding_set(capability).context("cannot drop a capability")?;
    }
    Ok(())
}

/// Let go of standard output and error, so that nobody waits for our end of a pipe.
fn let_go_of_output() -> Result<()> {
    let null = std::fs::OpenOptions::new().write(true).open("/dev/null")?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    Ok(())
}

/// Let go of standard input.
fn let_go_of_input() -> Result<()> {
    dup2_stdin(std::fs::File::open("/dev/null")?)?;
    Ok(())
}
