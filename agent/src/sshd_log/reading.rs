//! Reads the system's log: what sshd and the program that it asks have written since the last reading.
//!
//! In: systemd's journal, by journalctl(1). Out: entries in their order, and a place to go on from. Who wrote an entry is the kernel's
//! word (`_UID`, `_PID`: systemd.journal-fields(7)); what a program calls itself counts for root and for our own account only. Blocks.

use std::io;
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
    /// No thread.
    #[error("the journal cannot be read")]
    Thread {
        /// Why.
        source: io::Error,
    },
    /// The place from which to go on is none: it is read from where our file stands, the next time.
    #[error("how far the journal was read is not understood")]
    Cursor,
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
    /// Its place in the log.
    pub(crate) cursor: String,
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
    // Of a file out of the future, as a clock that was set back leaves it, all of this boot is later.
    let stands = stands.filter(|at| *at <= SystemTime::now());
    let seconds =
        stands.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok()).map(|since| since.as_secs());
    let since = seconds.map(|seconds| format!("--since=@{seconds}"));
    std::iter::once("--boot".to_owned()).chain(since).collect()
}

/// What was written, as far as it is whole: of a long answer the end is cut off, and read the next time.
fn understood(answer: &Answer, program: Option<u32>) -> Result<Reading, ReadingError> {
    let is_cut = u64::try_from(answer.stdout.len()).is_ok_and(|length| length >= OUTPUT_MAX);
    let mut reading = Reading { entries: Vec::new(), cursor: None, more: is_cut };
    for line in answer.stdout.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let Ok(written) = serde_json::from_str::<Written>(line) else { continue };
        reading.entries.extend(entry(&written, program));
        reading.cursor = Some(written.cursor);
    }
    // What was said before a program failed counts.
    if is_cut || answer.code == Some(0) || reading.cursor.is_some() {
        return Ok(reading);
    }
    let said = answer.stderr.trim().to_owned();
    Err(if said.contains("cursor") { ReadingError::Cursor } else { ReadingError::Refused { said } })
}

fn entry(written: &Written, program: Option<u32>) -> Option<Entry> {
    let uid: u32 = written.uid.parse().ok()?;
    let who = if Some(uid) == program { Who::Program } else { Who::Sshd { pid: written.pid.parse().ok()? } };
    let micros: i64 = written.micros.parse().ok()?;
    let message = written.message.as_str()?.to_owned();
    let at = Timestamp(micros.checked_div(1_000_000)?);
    Some(Entry { who, at, cursor: written.cursor.clone(), message })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(stdout: String, code: Option<i32>) -> Answer {
        Answer { code, stdout, stderr: "Failed to seek to cursor: Invalid argument\n".to_owned() }
    }

    fn line(cursor: &str, uid: u32, message: &str) -> String {
        let written = serde_json::json!({
            "__CURSOR": cursor, "__REALTIME_TIMESTAMP": "1800000000000001", "_PID": "7", "_UID": uid.to_string(),
            "MESSAGE": serde_json::from_str::<Value>(message).unwrap(),
        });
        format!("{written}\n")
    }

    #[test]
    fn who_wrote_it_is_by_uid_and_what_is_no_text_is_passed_over() {
        let all =
            [line("a", 0, "\"x\""), line("b", 994, "\"y\""), line("c", 0, "[1,2]"), line("d", 0, "null")];
        let reading = understood(&answer(all.concat(), Some(0)), Some(994)).unwrap();
        let found: Vec<_> =
            reading.entries.iter().map(|one| (one.who, one.cursor.as_str(), one.message.as_str())).collect();
        assert_eq!(found, [(Who::Sshd { pid: 7 }, "a", "x"), (Who::Program, "b", "y")]);
        assert_eq!((reading.cursor.as_deref(), reading.more), (Some("d"), false));
        assert!(reading.entries.iter().all(|one| one.at == Timestamp(1_800_000_000)));
    }

    #[test]
    fn of_a_long_answer_the_line_that_is_cut_off_is_read_the_next_time() {
        let one = line("a", 0, "\"x\"");
        let max = usize::try_from(OUTPUT_MAX).unwrap();
        let count = max.checked_div(one.len()).unwrap().saturating_sub(2);
        let mut text = one.repeat(count) + &line("b", 0, "\"y\"");
        text += &line("c", 0, &format!("\"{}\"", "z".repeat(4000)));
        text.truncate(max);
        // The program was killed by its full pipe.
        let reading = understood(&answer(text, None), None).unwrap();
        assert_eq!((reading.cursor.as_deref(), reading.more), (Some("b"), true));
    }

    #[test]
    fn a_program_that_fails_is_an_error_and_nothing_new_is_none() {
        let failed = understood(&answer(String::new(), Some(1)), None);
        assert!(matches!(failed, Err(ReadingError::Cursor)), "{failed:?}");
        let killed = Answer { stderr: String::new(), ..answer(String::new(), None) };
        assert!(matches!(understood(&killed, None), Err(ReadingError::Refused { .. })));
        let reading = understood(&answer(line("a", 0, "\"x\""), None), None).unwrap();
        assert_eq!((reading.cursor.as_deref(), reading.more), (Some("a"), false), "killed after a line");
        let reading = understood(&answer(String::new(), Some(0)), None).unwrap();
        assert!(reading.entries.is_empty() && reading.cursor.is_none() && !reading.more);
    }
}
