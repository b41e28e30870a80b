//! How much room reports may take: so much on any disk, more where as much is left.
//!
//! In: bytes that wait, a folder. Out: bytes that may. Spec: docs/wire.md "Reports", docs/decisions/0037.

use std::path::Path;

use nix::sys::statvfs::statvfs;

pub(super) const MIB: u64 = 1024 * 1024;
/// Most bytes of reports that wait.
pub(super) const SPOOL_MAX: u64 = 1024 * MIB;
/// As much of it is taken from a disk of any size; beyond that the spool never takes more than it leaves.
pub(super) const ANYWAY: u64 = 16 * MIB;
/// A file of this length is followed by another one.
pub(super) const FILE: u64 = 512 * 1024;

/// How much may wait, and in what pieces.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// On a disk of any size.
    pub(super) anyway: u64,
    /// On the largest.
    pub(super) at_all: u64,
    /// One file.
    pub(super) file: u64,
}

impl Limits {
    /// Of every host.
    pub(super) const OURS: Self = Self { anyway: ANYWAY, at_all: SPOOL_MAX, file: FILE };

    /// How much may wait where `bytes` do, and `free` are left beside them.
    pub(super) fn whole(self, bytes: u64, free: impl FnOnce() -> u64) -> u64 {
        if bytes < self.anyway / 2 {
            return self.anyway;
        }
        (bytes.saturating_add(free()) / 2).clamp(self.anyway, self.at_all)
    }
}

/// Bytes that are free for root on the disk of a folder, or none where nobody can tell.
pub(super) fn free(folder: &Path) -> u64 {
    statvfs(folder).map_or(0, |said| said.blocks_available().saturating_mul(said.fragment_size()))
}
