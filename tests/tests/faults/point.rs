//! Where a fault strikes and what it is.
//!
//! In: what strace wrote of a clean run. Out: [`Point`]s, and [`Strike`]s: each point with its modes.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// The n-th call of a name on a path, counted for each thread.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point {
    /// Of the system call.
    pub(crate) call: String,
    /// What it is about, below the folder of the run.
    pub(crate) path: PathBuf,
    /// From 1.
    pub(crate) nth: u32,
}

/// What happens there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mode {
    /// SIGKILL before the kernel does it.
    Before,
    /// SIGKILL when the kernel has done it and nobody knows yet.
    After,
    /// The power is cut when the kernel has done it and nobody knows yet: what is not durable is gone.
    Power,
    /// The kernel says EIO.
    Eio,
    /// The kernel says ENOSPC.
    Enospc,
}

impl Mode {
    /// All that a program alone can meet.
    pub(crate) const ALL: [Self; 4] = [Self::Before, Self::After, Self::Eio, Self::Enospc];
}

/// A point and a mode.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Strike {
    /// Where.
    pub(crate) point: Point,
    /// What.
    pub(crate) mode: Mode,
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Point { call, path, nth } = &self.point;
        write!(f, "{:?} at {call} {} #{nth}", self.mode, path.display())
    }
}

/// Calls that change something on a disk.
pub(crate) const CALLS: &str = "write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync,sync_file_range,ftruncate,truncate,\
    fallocate,rename,renameat,renameat2,unlink,unlinkat,rmdir,link,linkat,symlink,symlinkat,mkdir,mkdirat,mknod,mknodat,\
    open,openat,creat,chmod,fchmod,fchmodat,chown,fchown,fchownat,lchown,utimensat,setxattr,fsetxattr";

/// The points in what `strace -f -y` wrote: each call that changes something below `base`, as often as one thread makes it.
pub(crate) fn points(trace: &str, base: &Path) -> Vec<Point> {
    let base = base.to_str().unwrap();
    let mut counts: BTreeMap<(String, String), BTreeMap<&str, u32>> = BTreeMap::new();
    let mut opened: BTreeMap<(String, String), bool> = BTreeMap::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((call, arguments)) = rest.trim_start().split_once('(') else { continue };
        if call.starts_with('<') || call.starts_with("---") || call.starts_with("+++") {
            continue;
        }
        for path in named(arguments, base) {
            let key = (call.to_owned(), path);
            *counts.entry(key.clone()).or_default().entry(thread).or_default() += 1;
            // An open that makes nothing changes nothing; the kernel counts it all the same.
            *opened.entry(key).or_default() |= !call.starts_with("open") || arguments.contains("O_CREAT");
        }
    }
    let mut points = Vec::new();
    for ((call, path), threads) in counts {
        if opened[&(call.clone(), path.clone())] {
            let most = threads.into_values().max().unwrap_or(0);
            points.extend((1..=most).map(|nth| Point {
                call: call.clone(),
                path: PathBuf::from(&path),
                nth,
            }));
        }
    }
    points
}

/// The paths below `base` in the arguments of a call, each once: in quotes, or behind a descriptor in angle brackets.
fn named(arguments: &str, base: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in arguments.match_indices(base) {
        let before = arguments[..at].chars().next_back();
        let rest = &arguments[at + base.len()..];
        let end = match before {
            Some('"') => '"',
            Some('<') => '>',
            _ => continue,
        };
        let Some((path, _)) = rest.split_once(end) else { continue };
        let path = path.trim_end_matches("(deleted)").trim_start_matches('/').to_owned();
        if !found.contains(&path) {
            found.push(path);
        }
    }
    found
}

/// A power cut at each of the points, or at about `most`, spread over all.
pub(crate) fn power_cuts(points: &[Point], most: usize) -> Vec<Strike> {
    let step = if takes_all() { 1 } else { (points.len() / most.max(1)).max(1) };
    points.iter().step_by(step).map(|point| Strike { point: point.clone(), mode: Mode::Power }).collect()
}

fn takes_all() -> bool {
    std::env::var("ELEVATE_FAULTS").is_ok_and(|value| value == "all")
}

/// Which points are struck in which way: all of both, or about `most`, spread over all, with the modes by turns.
pub(crate) fn strikes(points: &[Point], most: usize) -> Vec<Strike> {
    let each = |point: &Point| Mode::ALL.map(|mode| Strike { point: point.clone(), mode });
    let strikes: Vec<Strike> = points.iter().flat_map(each).collect();
    if takes_all() {
        return strikes;
    }
    // An odd step: the modes take turns.
    let step = (strikes.len() / most.max(1)) | 1;
    strikes.into_iter().step_by(step).collect()
}

#[test]
fn a_trace_is_read_as_points() {
    let trace = "7 openat(AT_FDCWD</x>, \"/b/lib/new\", O_WRONLY|O_CREAT, 0600) = 3</b/lib/new>\n\
                 7 pwrite64(3</b/lib/new>, \"x\", 1, 0) = 1\n\
                 8 pwrite64(3</b/lib/new>, \"/b/lib\", 1, 0) = 1\n\
                 7 pwrite64(3</b/lib/new>, \"x\", 1, 0 <unfinished ...>\n\
                 7 <... pwrite64 resumed>) = 1\n\
                 7 openat(AT_FDCWD</x>, \"/b/read\", O_RDONLY) = 3</b/read>\n\
                 7 rename(\"/b/one\", \"/b/two\") = 0\n\
                 7 fsync(3</elsewhere>) = 0\n";
    let found = points(trace, Path::new("/b"));
    let shown: Vec<String> =
        found.iter().map(|one| format!("{} {} {}", one.call, one.path.display(), one.nth)).collect();
    let wanted =
        ["openat lib/new 1", "pwrite64 lib/new 1", "pwrite64 lib/new 2", "rename one 1", "rename two 1"];
    // The text of a write may look like a path; that it is counted costs a point that is not reached.
    let shown: Vec<&str> = shown.iter().map(String::as_str).filter(|one| *one != "pwrite64 lib 1").collect();
    assert_eq!(shown, wanted);
}
