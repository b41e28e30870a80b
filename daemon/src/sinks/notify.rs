//! Events to a program of the site: one run per event, the event's JSON on standard input.
//!
//! In: events. Out: runs, one at a time, in order. No shell, no environment but PATH and LANG, 10 s each. A run that
//! fails is repeated, after pauses that grow to 30 s, before any later event is told; the event's `seq` tells the program
//! what it has seen. Only the program itself can give an event up, by its exit status.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::follow::{Habits, Sink, Start};
use crate::log;
use crate::store::Recorded;

const RUN: Duration = Duration::from_secs(10);
/// `EX_DATAERR` of sysexits.h: the program will never take this event.
const NEVER: i32 = 65;
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// The program.
pub(super) struct Program {
    path: String,
    arguments: Vec<String>,
}

impl Program {
    /// None when nothing is configured.
    pub(super) fn new(exec: &[String]) -> Option<Self> {
        let (path, arguments) = exec.split_first()?;
        Some(Self { path: path.clone(), arguments: arguments.to_vec() })
    }

    fn start(&self) -> io::Result<Child> {
        Command::new(&self.path)
            .args(&self.arguments)
            .env_clear()
            .env("PATH", PATH)
            .env("LANG", "C.UTF-8")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    async fn run(&self, line: &str) -> io::Result<ExitStatus> {
        let mut child = self.start()?;
        if let Some(mut input) = child.stdin.take() {
            let written = async {
                input.write_all(line.as_bytes()).await?;
                input.write_all(b"\n").await
            };
            // A program that does not read everything may still have done its work.
            drop(written.await);
        }
        child.wait().await
    }
}

impl Sink for Program {
    /// Each run by itself: what a program did is not to be done again because of a later one.
    fn habits(&self) -> Habits {
        Habits { start: Start::Next, window: 1, hold: RUN, linger: Duration::ZERO, again: 0 }
    }

    async fn send(&mut self, event: &Recorded) -> Result<(), String> {
        let why = match timeout(RUN, self.run(&event.line)).await {
            Ok(Ok(status)) if status.success() => return Ok(()),
            Ok(Ok(status)) if status.code() == Some(NEVER) => {
                log::warning(&format!(
                    "notify.exec: {} gives event {} up (exit status {NEVER}); it is in the log",
                    self.path, event.event.seq
                ));
                return Ok(());
            }
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("not ready within {} s, killed", RUN.as_secs()),
        };
        Err(format!("{} for event {}: {why}", self.path, event.event.seq))
    }
}
