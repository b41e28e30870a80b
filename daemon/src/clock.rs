//! The only reader of the clock in this program.
//!
//! In: nothing, or a test's hand. Out: UTC seconds, and waiting until a point in time. Runs as: `elevated`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use elevate_protocol::time::Timestamp;

/// Longest single wait: the wall clock may be set while somebody waits for it.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// Tells the time. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System,
    #[cfg(test)]
    Manual(std::sync::Arc<tokio::sync::watch::Sender<i64>>),
}

impl Clock {
    /// The machine's wall clock.
    #[must_use]
    pub(crate) fn system() -> Self {
        Self(Source::System)
    }

    /// Now. Before 1970 is 1970.
    #[must_use]
    pub(crate) fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => Timestamp(i64::try_from(since_epoch().as_secs()).unwrap_or(i64::MAX)),
            #[cfg(test)]
            Source::Manual(hand) => Timestamp(*hand.borrow()),
        }
    }

    /// Returns at `point` or after it, also when the clock is set meanwhile.
    pub(crate) async fn sleep_until(&self, point: Timestamp) {
        match &self.0 {
            Source::System => {
                let point = Duration::from_secs(u64::try_from(point.0).unwrap_or(0));
                loop {
                    let left = point.saturating_sub(since_epoch());
                    if left.is_zero() {
                        return;
                    }
                    tokio::time::sleep(left.min(LONGEST_WAIT)).await;
                }
            }
            #[cfg(test)]
            Source::Manual(hand) => {
                let mut seen = hand.subscribe();
                if seen.wait_for(|now| *now >= point.0).await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
impl Clock {
    /// A clock that stands until [`Clock::advance`].
    pub(crate) fn manual(start: i64) -> Self {
        Self(Source::Manual(std::sync::Arc::new(tokio::sync::watch::Sender::new(start))))
    }

    /// Moves a manual clock.
    pub(crate) fn advance(&self, seconds: i64) {
        match &self.0 {
            Source::System => panic!("the machine's clock is not moved"),
            Source::Manual(hand) => hand.send_modify(|now| *now = now.saturating_add(seconds)),
        }
    }
}
