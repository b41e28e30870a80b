//! A store that failed: the disk did not write, did not sync, or gave back what nobody had written.
//!
//! In: errors of SQLite. Out: whether this process has to end. Spec: docs/faults.md. What a failed fsync(2) should have made durable
//! may be gone although a later one succeeds, so nothing is tried again: the next process reads what is on the disk (R04).

use std::sync::OnceLock;

use tokio::sync::Notify;

/// Why. One per process, as the page cache that can no longer be trusted is.
static FAILED: OnceLock<String> = OnceLock::new();
static NOTED: Notify = Notify::const_new();
/// SQLITE_FULL (sqlite.org/rescode.html).
const NO_ROOM: u32 = 13;

/// Primary result codes (sqlite.org/rescode.html) after which nothing more is written: IOERR, CORRUPT, NOTADB.
const FATAL: [u32; 3] = [10, 11, 26];

fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?.parse::<u32>().ok()?;
    Some(code & 0xff)
}

/// Whether an error says that the store failed. A full disk, a lock, a refused row are none: SQLite took those changes back.
fn is_fatal(error: &sqlx::Error) -> bool {
    primary_code(error).is_some_and(|code| FATAL.contains(&code))
        || matches!(error, sqlx::Error::WorkerCrashed)
}

/// Whether an error says that the disk is full.
pub(super) fn is_full(error: &sqlx::Error) -> bool {
    primary_code(error) == Some(NO_ROOM)
}

/// Looks at an error of the database.
pub(super) fn look(error: &sqlx::Error) {
    // Unit tests open many stores in one process, and remove their folders under pools that are still at work.
    if is_fatal(error) && !cfg!(test) {
        FAILED.get_or_init(|| error.to_string());
        NOTED.notify_waiters();
    }
}

/// Why the store failed, if it did.
pub(super) fn come_already() -> Option<&'static str> {
    FAILED.get().map(String::as_str)
}

/// Returns when the store has failed: why.
pub(crate) async fn come() -> &'static str {
    loop {
        let noted = NOTED.notified();
        if let Some(why) = FAILED.get() {
            return why;
        }
        noted.await;
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use sqlx::error::{DatabaseError, ErrorKind};

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("code {0}")]
    struct Code(u32);

    impl DatabaseError for Code {
        fn message(&self) -> &str {
            "an error"
        }

        fn code(&self) -> Option<Cow<'_, str>> {
            Some(self.0.to_string().into())
        }

        fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
            self
        }

        fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
            self
        }

        fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
            self
        }

        fn kind(&self) -> ErrorKind {
            ErrorKind::Other
        }
    }

    #[test]
    fn r04_a_failed_disk_is_the_end_and_a_full_one_is_not() {
        let fatal = |code| is_fatal(&sqlx::Error::Database(Box::new(Code(code))));
        // IOERR, IOERR_WRITE, IOERR_FSYNC, IOERR_DIR_FSYNC, CORRUPT, CORRUPT_INDEX, NOTADB.
        for code in [10, 778, 1034, 1290, 11, 779, 26] {
            assert!(fatal(code), "{code}");
        }
        // BUSY, BUSY_SNAPSHOT, FULL, CONSTRAINT_UNIQUE, NOMEM.
        for code in [5, 517, 13, 2067, 7] {
            assert!(!fatal(code), "{code}");
        }
        assert!(is_fatal(&sqlx::Error::WorkerCrashed) && !is_fatal(&sqlx::Error::RowNotFound));
    }
}
