//! One sink and its place in the log: everything in order, at least once, whatever happens to either side.
//!
//! In: the log, a [`Sink`]. Out: events sent, the place remembered, the board (`elevatectl sinks`) told. Nothing queues in memory: what is not
//! sent yet is in the log, and a sink that is away holds up nobody but itself (threats I08, I18). Spec: docs/events.md.

use std::time::Duration;

use elevate_audit::{Kind, Subject};
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Span;
use tokio::time::{Instant, sleep, timeout};

use super::board::Post;
use crate::log;
use crate::store::{EventReader, Recorded, StoreError, Voice};

/// Events read at a time.
const BATCH: u64 = 64;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A sink that was away for this long is an event.
const NOTED: Span = Span(60);

/// Where a sink begins that has never run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// With event 0.
    First,
    /// With the next event.
    Next,
}

/// How a sink wants to be served.
#[derive(Debug, Clone, Copy)]
pub(super) struct Habits {
    /// Where it begins.
    pub(super) start: Start,
    /// Most events that are sent before [`Sink::settle`]. More than `again`.
    pub(super) window: u64,
    /// Longest time between two calls of [`Sink::settle`] while there is more to send.
    pub(super) hold: Duration,
    /// How long to wait for more before [`Sink::settle`], when everything is sent.
    pub(super) linger: Duration,
    /// Events before the remembered place that are sent again after a failure.
    pub(super) again: u64,
}

/// Somewhere events go.
pub(super) trait Sink {
    /// How it wants to be served.
    fn habits(&self) -> Habits;

    /// Sends one event.
    ///
    /// # Errors
    /// Text for the log. Everything since the last [`Sink::settle`] is sent again later.
    async fn send(&mut self, event: &Recorded) -> Result<(), String>;

    /// Returns when everything sent has arrived, as far as that can be known there.
    ///
    /// # Errors
    /// As [`Sink::send`].
    async fn settle(&mut self) -> Result<(), String> {
        Ok(())
    }
}

/// A sink at work.
struct Follower<S> {
    reader: EventReader,
    sink: S,
    post: Post,
}

impl<S: Sink> Follower<S> {
    async fn begin(&self) -> Result<u64, StoreError> {
        let name = self.post.name();
        let next = self.reader.cursor(name).await?;
        if next == 0 && self.sink.habits().start == Start::Next {
            let next = self.reader.head();
            self.reader.advance(name, next).await?;
            return Ok(next);
        }
        Ok(next)
    }

    /// Sends from event `from` on, until there are no more or it is time to settle. Gives the number after the last.
    async fn round(&mut self, from: u64) -> Result<Result<u64, String>, StoreError> {
        let habits = self.sink.habits();
        let until = from.saturating_add(habits.window);
        let began = Instant::now();
        let mut sent = from;
        while sent < until && began.elapsed() < habits.hold {
            let most = u32::try_from(BATCH.min(until.saturating_sub(sent))).unwrap_or(1);
            let events = self.reader.read(sent, most).await?;
            if events.is_empty() && !self.more(sent, habits.linger).await {
                break;
            }
            for event in events {
                if let Err(why) = self.sink.send(&event).await {
                    return Ok(Err(why));
                }
                sent = event.event.seq.saturating_add(1);
            }
        }
        Ok(self.sink.settle().await.map(|()| sent))
    }

    async fn more(&mut self, sent: u64, linger: Duration) -> bool {
        !linger.is_zero() && matches!(timeout(linger, self.reader.wait_for(sent)).await, Ok(true))
    }

    /// Follows the log until the store is gone.
    async fn follow(&mut self) -> Result<(), StoreError> {
        let mut next = self.begin().await?;
        let mut pause = None;
        let mut noted = false;
        while self.reader.wait_for(next).await {
            let back = if pause.is_some() { self.sink.habits().again } else { 0 };
            match self.round(next.saturating_sub(back)).await? {
                Ok(reached) => {
                    next = next.max(reached);
                    self.reader.advance(self.post.name(), next).await?;
                    if self.post.works() {
                        log::info(&format!(
                            "sink {}: works again, told up to event {next}",
                            self.post.name()
                        ));
                    }
                    if std::mem::take(&mut noted) {
                        self.note(Kind::SinkBack { sink: self.name(), next }).await?;
                    }
                    pause = None;
                }
                Err(why) => {
                    let since = self.post.fails(&why, self.reader.now());
                    let next_pause = pause.map_or(FIRST_PAUSE, |last: Duration| last.saturating_mul(2));
                    if pause.is_none() {
                        let name = self.post.name();
                        log::warning(&format!(
                            "sink {name}: {why}; events wait in the log and are sent later"
                        ));
                    }
                    if !noted && self.reader.now() >= since.after(NOTED) {
                        noted = true;
                        let why = UntrustedText::lossy(&why);
                        self.note(Kind::SinkLost { sink: self.name(), next, why }).await?;
                    }
                    let length = next_pause.min(LONGEST_PAUSE);
                    pause = Some(length);
                    sleep(length).await;
                }
            }
        }
        Ok(())
    }

    fn name(&self) -> UntrustedText {
        UntrustedText::lossy(self.post.name())
    }

    async fn note(&self, kind: Kind) -> Result<(), StoreError> {
        self.reader.record(Voice::DAEMON.did(Subject::default(), kind)).await
    }
}

/// Runs a sink until the store is gone; a store that fails is tried again.
pub(super) async fn keep<S: Sink>(reader: EventReader, sink: S, post: Post) {
    let mut follower = Follower { reader, sink, post };
    loop {
        match follower.follow().await {
            Ok(()) => return,
            Err(error) => {
                log::error(&format!("sink {}: {}", follower.post.name(), log::chain(&error)));
                sleep(LONGEST_PAUSE).await;
            }
        }
    }
}
