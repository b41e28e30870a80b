//! How much of one host's coming and going is recorded one by one; the rest is counted, so that no host fills the log (threat H11).
//!
//! In: what happened to a host's connection, the time. Out: whether it is recorded, and later one event with exact counts.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use elevate_audit::Kind;
use elevate_protocol::id::HostId;
use elevate_protocol::time::{Span, Timestamp};

use super::{subject, voice};
use crate::core::{Core, Fault};
use crate::store::HostRow;

/// Counted over this time.
const WINDOW: Span = Span::MINUTE;
/// Recorded of one host in that time: ten connections that come and go.
const EACH_MAX: u32 = 20;

/// Counts for each host. As many entries as hosts had connections.
#[derive(Default)]
pub(crate) struct Floods(Mutex<HashMap<HostId, Counts>>);

#[derive(Clone, Copy)]
struct Counts {
    since: Timestamp,
    recorded: u32,
    left_out: LeftOut,
}

/// What was counted and not recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct LeftOut {
    connected: u64,
    lost: u64,
    refused: u64,
}

/// What happened to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// It said hello.
    Connected,
    /// It ended.
    Lost,
    /// It was cut off.
    Refused,
}

#[derive(Debug, PartialEq, Eq)]
enum Entry {
    Record,
    /// The first that is not recorded: somebody has to record the counts at this time.
    First(Timestamp),
    LeftOut,
}

impl Floods {
    fn count(&self, host: HostId, came: Came, now: Timestamp) -> Entry {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Counts { since: now, recorded: 0, left_out: LeftOut::default() };
        let counts = all.entry(host).or_insert(fresh);
        let counting = counts.left_out != LeftOut::default();
        // While counts wait to be recorded, everything is added to them. A clock that was set back begins anew.
        if !counting && (now < counts.since || now >= counts.since.after(WINDOW)) {
            *counts = fresh;
        }
        if !counting && counts.recorded < EACH_MAX {
            counts.recorded = counts.recorded.saturating_add(1);
            return Entry::Record;
        }
        let place = match came {
            Came::Connected => &mut counts.left_out.connected,
            Came::Lost => &mut counts.left_out.lost,
            Came::Refused => &mut counts.left_out.refused,
        };
        *place = place.saturating_add(1);
        if counting { Entry::LeftOut } else { Entry::First(counts.since.after(WINDOW)) }
    }

    /// What waits to be recorded of a host; from here on it is counted anew.
    fn take(&self, host: HostId) -> Option<Counts> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&host)?;
        (counts.left_out != LeftOut::default()).then_some(counts)
    }

    fn waiting(&self) -> Vec<HostId> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter()
            .filter(|(_, counts)| counts.left_out != LeftOut::default())
            .map(|(host, _)| *host)
            .collect()
    }
}

/// Whether this is recorded by itself. If not, it is in the counts that are recorded when the minute is over.
pub(super) fn is_recorded(core: &Core, host: &HostRow, came: Came) -> bool {
    let inner = core.inner();
    match inner.floods.count(host.id, came, inner.clock.now()) {
        Entry::Record => true,
        Entry::LeftOut => false,
        Entry::First(at) => {
            crate::log::warning(&format!(
                "{}: connections come and go too fast; counted, not recorded",
                host.name
            ));
            let (core, id) = (core.clone(), host.id);
            tokio::spawn(async move {
                core.inner().clock.sleep_until(at).await;
                log_failure(&core, record(&core, id).await);
            });
            false
        }
    }
}

/// Records what waits, before the store closes.
pub(crate) async fn record_all(core: &Core) {
    for host in core.inner().floods.waiting() {
        log_failure(core, record(core, host).await);
    }
}

fn log_failure(core: &Core, recorded: Result<(), Fault>) {
    match recorded {
        Err(fault) if !core.inner().store.is_closed() => crate::log::error(&crate::log::chain(&fault)),
        Ok(()) | Err(_) => {}
    }
}

async fn record(core: &Core, id: HostId) -> Result<(), Fault> {
    let inner = core.inner();
    if inner.store.is_closed() {
        return Ok(());
    }
    let mut tx = inner.store.write().await?;
    let Some(host) = tx.host(id).await? else { return Ok(()) };
    let Some(Counts { since, left_out, .. }) = inner.floods.take(id) else { return Ok(()) };
    let LeftOut { connected, lost, refused } = left_out;
    let kind = Kind::HostFlooded { since, connected, lost, refused };
    tx.record(voice(&host).did(subject(&host), kind)).await?;
    tx.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_of_a_minute_are_recorded_the_rest_is_counted_exactly() {
        let (floods, host, other) =
            (Floods::default(), HostId::from_random([1; 16]), HostId::from_random([2; 16]));
        let start = Timestamp(1000);
        for _ in 0..20 {
            assert_eq!(floods.count(host, Came::Connected, start), Entry::Record);
        }
        assert_eq!(floods.count(host, Came::Lost, start.after(Span(59))), Entry::First(Timestamp(1060)));
        // Late by a moment: nothing is recorded between the counts and what they count.
        assert_eq!(floods.count(host, Came::Refused, start.after(Span(61))), Entry::LeftOut);
        assert_eq!(floods.count(other, Came::Lost, start), Entry::Record, "another host is another matter");
        assert_eq!(floods.waiting(), [host]);
        let taken = floods.take(host).unwrap();
        assert_eq!((taken.since, taken.left_out), (start, LeftOut { connected: 0, lost: 1, refused: 1 }));
        assert!(floods.take(host).is_none() && floods.waiting().is_empty());
        assert_eq!(floods.count(host, Came::Lost, start.after(Span(61))), Entry::Record);
    }
}
