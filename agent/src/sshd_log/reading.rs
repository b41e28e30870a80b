//! Reads the system's log: what sshd and the program that it asks have written since the last reading.
//!
//! In: systemd's journal, by journalctl(1). Out: entries in their order, and a place to go on from. Who wrote an entry is the kernel's
//! word (`_UID`, `_PID`: systemd.journal-fields(7)); what a program calls itself counts for root and for our own account only. Blocks.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use elevate_protocol::asked::IDENTIFIER;
use elevate_protocol::time::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::child::{self, Answer, ChildError, OUTPUT_MAX};
use crate::nss;
use crate::paths::Paths;
use crate::safe;
use crate::sshd::ACCOUNT;

/// As what sshd writes; from OpenSSH 9.8 another program serves connections.
const SSHD: [&str; 2] = ["sshd", "sshd-session"];
/// How long a reading may take.
const DEADLINE: Duration = Duration::from_secs(20);
const MACHINE_ID_MAX: u64 = 64;

/// Why the log is not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadingError {
    /// No journal.
    #[error("this host keeps no journal")]
    NoJournal,
    /// The program did not answer.
    #[error("the journal cannot be read")]
    Child(#[from] ChildError),
    /// It did not do it.
    #[error("journalctl says: {said}")]
    Refused {
        /// What it said.
        said: String,
    },
}

/// Who wrote an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// A process of root's that calls itself sshd.
    Sshd {
        /// Which.
        pid: u32,
    },
    /// The program that sshd asks.
    Program,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Who wrote it.
    pub(crate) who: Who,
    /// When it came to the log.
    pub(crate) at: Timestamp,
    /// What.
    pub(crate) message: String,
}

/// What there is since the last reading.
#[derive(Debug)]
pub(crate) struct Reading {
    /// In their order.
    pub(crate) entries: Vec<Entry>,
    /// Where to go on; none: where this one began.
    pub(crate) cursor: Option<String>,
    /// Whether there may be more.
    pub(crate) more: bool,
}

/// As journalctl(1) writes it with `--output=json`.
#[derive(Debug, Deserialize)]
struct Written {
    #[serde(rename = "__CURSOR")]
    cursor: String,
    #[serde(rename = "__REALTIME_TIMESTAMP")]
    micros: String,
    #[serde(rename = "_PID")]
    pid: String,
    #[serde(rename = "_UID")]
    uid: String,
    /// Not a text where it has characters that cannot be shown: sshd writes none of these.
    #[serde(rename = "MESSAGE")]
    message: Value,
}

/// When somebody last wrote to the journal; none: there is none.
#[must_use]
pub(crate) fn written(paths: &Paths) -> Option<SystemTime> {
    let id = safe::read(&paths.root.join("etc/machine-id"), MACHINE_ID_MAX).ok()?;
    let places = ["run/log/journal", "var/log/journal"];
    let files = places.map(|place| paths.root.join(place).join(id.trim()).join("system.journal"));
    files.iter().filter_map(|file| std::fs::metadata(file).ok()?.modified().ok()).max()
}

/// The program that reads it, where there is one.
#[must_use]
pub(crate) fn program() -> Option<PathBuf> {
    Paths::program("journalctl")
}

/// Reads on from the cursor; without one, from where our file began to stand among sshd's, in this boot.
///
/// # Errors
/// [`ReadingError`].
pub(crate) fn read(paths: &Paths, cursor: Option<&str>) -> Result<Reading, ReadingError> {
    let program = program().ok_or(ReadingError::NoJournal)?;
    let uid = nss::in_files(ACCOUNT).map(|account| account.uid);
    let begin = cursor.map_or_else(|| since(paths), |cursor| vec![format!("--after-cursor={cursor}")]);
    let fixed = ["--quiet", "--no-pager", "--output=json", "--output-fields=MESSAGE,_PID,_UID"];
    let mut arguments: Vec<String> = fixed.map(str::to_owned).into();
    arguments.extend(begin);
    for (index, name) in SSHD.iter().enumerate() {
        arguments.extend((index > 0).then(|| "+".to_owned()));
        arguments.extend(["_UID=0".to_owned(), format!("SYSLOG_IDENTIFIER={name}")]);
    }
    if let Some(uid) = uid {
        arguments.extend(["+".to_owned(), format!("_UID={uid}"), format!("SYSLOG_IDENTIFIER={IDENTIFIER}")]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let answer = child::run(&program, &arguments, DEADLINE)?;
    understood(&answer, uid)
}

fn since(paths: &Paths) -> Vec<String> {
    let stands = std::fs::metadata(&paths.sshd_file).and_then(|meta| meta.modified()).ok();
    let seconds =
        stands.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok()).map(|since| since.as_secs());
    let since = seconds.map(|seconds| format!("--since=@{seconds}"));
    std::iter::once("--boot".to_owned()).chain(since).collect()
}

/// What was written, as far as it is whole: of a long answer the end is cut off, and read the next time.
fn understood(answer: &Answer, program: Option<u32>) -> Result<Reading, ReadingError> {
    let is_cut = u64::try_from(answer.stdout.len()).is_ok_and(|length| length >= OUTPUT_MAX);
    if !is_cut && answer.code != Some(0) {
        return Err(ReadingError::Refused { said: answer.stderr.trim().to_owned() });
    }
    let mut reading = Reading { entries: Vec::new(), cursor: None, more: is_cut };
    for line in answer.stdout.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let Ok(written) = serde_json::from_str::<Written>(line) else { continue };
        reading.entries.extend(entry(&written, program));
        reading.cursor = Some(written.cursor);
    }
    Ok(reading)
}

fn entry(written: &Written, program: Option<u32>) -> Option<Entry> {
    let uid: u32 = written.uid.parse().ok()?;
    let who = if Some(uid) == program { Who::Program } else { Who::Sshd { pid: written.pid.parse().ok()? } };
    let micros: i64 = written.micros.parse().ok()?;
    let message = written.message.as_str()?.to_owned();
    Some(Entry { who, at: Timestamp(micros.checked_div(1_000_000)?), message })
}
