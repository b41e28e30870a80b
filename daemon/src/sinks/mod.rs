//! Sends recorded events on: to syslog, to a program. Each sink has its own place in the log.
//!
//! In: the log, in order. Out: each event at least once and in order; a sink that is away is waited for and
//! blocks nothing else. Nothing queues in memory: what is not sent yet is in the log. Spec: docs/events.md.

mod notify;
mod syslog;

#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::time::sleep;

use crate::config::{Notify, Syslog};
use crate::log;
use crate::store::{EventReader, Recorded, StoreError};

/// Events read at a time.
const BATCH: u32 = 64;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Where a sink begins that has never run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// With event 0.
    Oldest,
    /// With the next event.
    Next,
}

/// Somewhere events go.
trait Sink {
    /// Its name in the store.
    const NAME: &'static str;
    /// Where it begins.
    const START: Start;

    /// Sends one event.
    ///
    /// # Errors
    /// Text for the log; the event is sent again later.
    async fn send(&mut self, event: &Recorded) -> Result<(), String>;
}

async fn persist<S: Sink>(sink: &mut S, event: &Recorded) {
    let mut pause = FIRST_PAUSE;
    while let Err(why) = sink.send(event).await {
        if pause == FIRST_PAUSE {
            log::warning(&format!("{}: {why}; events wait in the log and are sent later", S::NAME));
        }
        sleep(pause).await;
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
    if pause != FIRST_PAUSE {
        log::info(&format!("{}: works again from event {} on", S::NAME, event.event.seq));
    }
}

async fn follow<S: Sink>(reader: &mut EventReader, sink: &mut S) -> Result<(), StoreError> {
    let mut next = reader.cursor(S::NAME).await?;
    if next == 0 && S::START == Start::Next {
        next = reader.head();
        reader.advance(S::NAME, next).await?;
    }
    loop {
        if !reader.wait_for(next).await {
            return Ok(());
        }
        for event in reader.read(next, BATCH).await? {
            persist(sink, &event).await;
            next = event.event.seq.saturating_add(1);
            reader.advance(S::NAME, next).await?;
        }
    }
}

/// Runs a sink until the store is gone; a store that fails is tried again.
async fn keep<S: Sink>(mut reader: EventReader, mut sink: S) {
    loop {
        match follow(&mut reader, &mut sink).await {
            Ok(()) => return,
            Err(error) => {
                log::error(&format!("{}: {}", S::NAME, log::chain(&error)));
                sleep(LONGEST_PAUSE).await;
            }
        }
    }
}

/// Events to syslog, for as long as the daemon runs.
pub(crate) async fn to_syslog(reader: EventReader, settings: Syslog, host: String) {
    match syslog::Datagrams::new(settings.socket, host) {
        Ok(sink) => keep(reader, sink).await,
        Err(error) => log::error(&format!("syslog: no socket: {error}")),
    }
}

/// Events to a program, for as long as the daemon runs.
pub(crate) async fn to_program(reader: EventReader, settings: Notify) {
    if let Some(sink) = notify::Program::new(&settings.exec) {
        keep(reader, sink).await;
    }
}
