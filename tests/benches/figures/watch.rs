//! When files were touched, by inotify(7): the daemon's write-ahead log, the drop-ins of a real host.
//!
//! In: paths on the machine. Out: what happened to them and when, in order. Runs as: root.

use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Touched {
    /// The write-ahead log was written.
    Written,
    /// A file of this name was renamed into place.
    Placed(String),
    /// A file of this name went.
    Gone(String),
}

/// Watches until it is dropped.
pub(crate) struct Watch(Receiver<(Instant, Touched)>);

impl Watch {
    /// Watches a folder of drop-ins, and a write-ahead log.
    pub(crate) fn over(folder: &Path, log: Option<&Path>) -> Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC)?;
        if let Some(log) = log {
            inotify.add_watch(log, AddWatchFlags::IN_MODIFY).with_context(|| log.display().to_string())?;
        }
        let both = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE;
        inotify.add_watch(folder, both).with_context(|| folder.display().to_string())?;
        let (told, heard) = channel();
        thread::Builder::new().name("watch".into()).spawn(move || {
            while let Ok(events) = inotify.read_events() {
                let now = Instant::now();
                for event in events {
                    let name = event.name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                    let touched = if event.mask.contains(AddWatchFlags::IN_MOVED_TO) {
                        Touched::Placed(name)
                    } else if event.mask.contains(AddWatchFlags::IN_DELETE) {
                        Touched::Gone(name)
                    } else {
                        Touched::Written
                    };
                    if told.send((now, touched)).is_err() {
                        return;
                    }
                }
            }
        })?;
        Ok(Self(heard))
    }

    /// Forgets what happened so far.
    pub(crate) fn forget(&self) {
        while self.0.try_recv().is_ok() {}
    }

    /// Waits for one thing; the time of the last write before it, and its own.
    pub(crate) fn until(&self, wanted: &Touched) -> Result<(Option<Instant>, Instant)> {
        let mut written = None;
        loop {
            let (at, touched) = self.0.recv_timeout(Duration::from_secs(20)).context("nothing happened")?;
            match touched {
                Touched::Written => written = Some(at),
                touched if touched == *wanted => return Ok((written, at)),
                Touched::Placed(_) | Touched::Gone(_) => {}
            }
        }
    }
}
