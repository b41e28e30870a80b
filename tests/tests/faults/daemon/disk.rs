//! A folder on a real ext4 of its own, whose power can be cut.
//!
//! In: a folder. Out: what is left of it after a power cut: what was durable, and perhaps more. Runs as: root; needs loop devices.
//! Spec: ext4's shutdown (`EXT4_IOC_SHUTDOWN`, without writing the journal), as xfs_io(8) asks for it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sched::{CloneFlags, unshare};

use super::vault::comes;

/// Its size: room for a daemon's folder.
const SIZE: u64 = 64 * 1024 * 1024;

/// The mounts of this thread and of those that it starts are its own from now on: they vanish with them, whatever happens.
pub(crate) fn own_mounts() {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    run("/bin/mount", &["--make-rprivate".as_ref(), "/".as_ref()]);
}

fn run(program: &str, arguments: &[&Path]) {
    let done = Command::new(program).args(arguments).output().unwrap();
    assert!(done.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// No journal is written, nothing more reaches the disk, and every write and sync fails from now on.
pub(crate) fn cut_power(folder: &Path) {
    // -x: it is asked for what only experts do; -F: it need not be XFS.
    run("/usr/sbin/xfs_io", &["-x".as_ref(), "-F".as_ref(), "-c".as_ref(), "shutdown".as_ref(), folder]);
}

/// What the kernel does with an ext4 that it finds damaged: from now on it is read-only, for files that are open too.
pub(crate) fn damage(folder: &Path) {
    let found = Command::new("/bin/findmnt").args(["-n", "-o", "SOURCE"]).arg(folder).output().unwrap();
    let device = String::from_utf8(found.stdout).unwrap();
    let device = Path::new(device.trim()).file_name().unwrap().to_owned();
    let trigger = Path::new("/sys/fs/ext4").join(device).join("trigger_fs_error");
    std::fs::write(trigger, "for a test").unwrap();
}

/// Takes all that is free.
pub(crate) fn fill(ballast: &Path) {
    let mut file = std::fs::File::create_new(ballast).unwrap();
    for piece in [64 * 1024, 1] {
        let bytes = vec![7; piece];
        while file.write_all(&bytes).is_ok() {}
    }
    // It may have promised what it has not: now nothing is promised any more.
    drop(file.sync_all());
}

/// An ext4 on a file, mounted.
#[derive(Debug)]
pub(crate) struct Disk {
    image: PathBuf,
    folder: PathBuf,
}

impl Disk {
    /// An empty disk at `folder`.
    pub(crate) fn make(image: PathBuf, folder: PathBuf) -> Self {
        std::fs::create_dir(&folder).unwrap();
        std::fs::File::create_new(&image).unwrap().set_len(SIZE).unwrap();
        run("/usr/sbin/mkfs.ext4", &["-q".as_ref(), "-F".as_ref(), "-m".as_ref(), "0".as_ref(), &image]);
        let disk = Self { image, folder };
        disk.mount();
        std::fs::remove_dir(disk.folder.join("lost+found")).unwrap();
        disk
    }

    fn mount(&self) {
        // Without lazy work: what is written is written by whoever wrote it.
        let options = Path::new("loop,noatime,noinit_itable,errors=remount-ro");
        run("/bin/mount", &["-o".as_ref(), options, &self.image, &self.folder]);
    }

    /// Everything on it is durable.
    pub(crate) fn settle(&self) {
        run("/bin/sync", &["-f".as_ref(), &self.folder]);
    }

    /// The power is back: what was only in memory is gone, the journal is replayed.
    pub(crate) fn start_again(&self) {
        let gone = || Command::new("/bin/umount").arg(&self.folder).output().unwrap().status.success();
        assert!(comes(gone), "somebody holds {}", self.folder.display());
        self.mount();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: whoever still is on it is about to end.
        drop(Command::new("/bin/umount").arg("-l").arg(&self.folder).output());
    }
}

#[test]
fn a_power_cut_loses_what_was_not_synced_and_nothing_else() {
    own_mounts();
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("lib");
    let disk = Disk::make(place.path().join("image"), folder.clone());
    std::fs::write(folder.join("old"), "durable").unwrap();
    disk.settle();
    std::fs::write(folder.join("new"), "in memory").unwrap();
    std::fs::write(folder.join(".draft"), "in memory").unwrap();
    std::fs::rename(folder.join(".draft"), folder.join("old")).unwrap();
    cut_power(&folder);
    assert!(std::fs::write(folder.join("later"), "late").is_err());
    disk.start_again();
    assert_eq!(std::fs::read(folder.join("old")).unwrap(), b"durable");
    let names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["old"]);
}
