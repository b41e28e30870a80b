//! What becomes due without anybody saying anything: requests lapse, grants end.
//!
//! In: deadlines in the store and the clock. Out: states and events. Nothing is kept in memory: after a restart the same
//! deadlines stand in the same rows. A host ends a grant by itself; this is the daemon's own knowledge of it.

use std::sync::{Arc, Weak};

use elevate_audit::Kind;
use elevate_protocol::document::EndCause;
use elevate_protocol::message::view::State;
use elevate_protocol::time::{Span, Timestamp};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::fault::Fault;
use super::{Core, Inner, cas, changes, ends, locks};
use crate::clock::Clock;
use crate::issue::{about, close};
use crate::log::chain;
use crate::store::{Activation, Change, Tx, Voice};

/// Most at a time, so that others get the writer in between.
const BATCH: u32 = 64;
/// After a failure.
const AGAIN: Span = Span(5);

/// Runs as long as the core lives.
pub(super) fn spawn(core: &Core) {
    let (weak, clock) = (Arc::downgrade(core.inner()), core.inner().clock.clone());
    let changes = core.inner().store.changes();
    tokio::spawn(run(weak, clock, changes));
}

async fn run(core: Weak<Inner>, clock: Clock, mut changes: Receiver<Change>) {
    loop {
        let Some(inner) = core.upgrade() else { return };
        let next = match work(&inner).await {
            Ok(next) => next,
            Err(_) if inner.store.is_closed() => return,
            Err(fault) => {
                crate::log::error(&chain(&fault));
                Some(clock.now().after(AGAIN))
            }
        };
        drop(inner);
        tokio::select! {
            () = until(&clock, next) => {}
            changed = changes.recv() => if let Err(RecvError::Closed) = changed { return },
        }
        // Many at a time are looked at once.
        changes = changes.resubscribe();
    }
}

/// Returns at a point in time, or never.
pub(super) async fn until(clock: &Clock, point: Option<Timestamp>) {
    match point {
        Some(point) => clock.sleep_until(point).await,
        None => std::future::pending().await,
    }
}

/// Does what is due; says when the next is.
async fn work(core: &Inner) -> Result<Option<Timestamp>, Fault> {
    loop {
        let next = core.store.glance().await?.next_due().await?;
        if next.is_none_or(|at| at > core.clock.now()) {
            return Ok(next);
        }
        let mut tx = core.store.write().await?;
        let due = tx.due(BATCH).await?;
        for mut one in due {
            over(&mut tx, &mut one).await?;
        }
        for lock in tx.locks_due(BATCH).await? {
            locks::expired(&mut tx, &lock).await?;
        }
        changes::due(&mut tx).await?;
        ends::due(core, &mut tx, BATCH).await?;
        let waiting = changes::waiting_keys(&mut tx).await?;
        let over = cas::due(core, &mut tx).await?;
        tx.commit().await?;
        changes::set_waiting(core, waiting);
        cas::forget(core, &over);
    }
}

async fn over(tx: &mut Tx, one: &mut Activation) -> Result<(), Fault> {
    if one.is_active() {
        close(tx, &Voice::DAEMON, (EndCause::Expired, None), one).await?;
        return Ok(());
    }
    one.state = State::Lapsed;
    tx.update_activation(one).await?;
    tx.record(Voice::DAEMON.did(about(one), Kind::RequestLapsed {})).await?;
    Ok(())
}
