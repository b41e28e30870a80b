//! The memory of a process, kept where it is: a virtual machine, or its host, may take away what nobody has touched for some seconds.
//!
//! In: a process. Out: its pages, read one byte each; nothing of it is kept. Runs as: root. Spec: proc(5) `pagemap`, `mem`.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};

const PAGE: u64 = 4096;
/// Of an entry of `pagemap`: the page is in memory.
const PRESENT: u64 = 1 << 63;

/// The pages that a process had in memory at one moment.
pub(crate) struct Pages {
    memory: File,
    addresses: Vec<u64>,
}

impl Pages {
    /// Those of now.
    pub(crate) fn of(pid: i32) -> Result<Self> {
        let pagemap = File::open(format!("/proc/{pid}/pagemap"))?;
        let mut addresses = Vec::new();
        for line in fs::read_to_string(format!("/proc/{pid}/maps"))?.lines() {
            // What the kernel lays into every process cannot be read from outside.
            if line.ends_with("[vvar]") || line.ends_with("[vvar_vclock]") || line.ends_with("[vsyscall]") {
                continue;
            }
            let (range, _) = line.split_once(' ').context("a line of maps")?;
            let (from, to) = range.split_once('-').context("a range of maps")?;
            let (from, to) = (u64::from_str_radix(from, 16)?, u64::from_str_radix(to, 16)?);
            for address in (from..to).step_by(usize::try_from(PAGE)?) {
                let mut entry = [0; 8];
                pagemap.read_exact_at(&mut entry, (address / PAGE).saturating_mul(8))?;
                if u64::from_ne_bytes(entry) & PRESENT != 0 {
                    addresses.push(address);
                }
            }
        }
        Ok(Self { memory: File::open(format!("/proc/{pid}/mem"))?, addresses })
    }

    /// Touches all of them; one that is gone meanwhile is nobody's any more.
    pub(crate) fn touch(&self) {
        for address in &self.addresses {
            drop(self.memory.read_at(&mut [0], *address));
        }
    }
}
