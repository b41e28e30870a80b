//! The daemon's log, read on from where it was read before.
//!
//! In: `elevatectl audit tail`. Out: events, each once.

use anyhow::{Context, Result, ensure};
use elevate_protocol::id::ActivationId;
use elevate_tests::fleet::Fleet;
use serde_json::Value;

/// More events than one step makes.
const MANY: &str = "2000";

/// How far it was read.
#[derive(Debug, Default)]
pub(crate) struct Log {
    next: u64,
}

/// One event about an activation.
#[derive(Debug)]
pub(crate) struct Event(Value);

impl Log {
    /// Everything new that is about an activation.
    pub(crate) fn news(&mut self, fleet: &Fleet) -> Result<Vec<Event>> {
        let lines = fleet.ctl(&["audit", "tail", "-n", MANY, "--format", "json"])?;
        let mut news = Vec::new();
        for line in lines.lines() {
            let event: Value = serde_json::from_str(line)?;
            let seq = event["seq"].as_u64().context("no place")?;
            if seq < self.next {
                continue;
            }
            ensure!(seq == self.next || self.next == 0, "place {seq} of the log after {}", self.next);
            self.next = seq + 1;
            if event.get("activation").is_some() {
                news.push(Event(event));
            }
        }
        Ok(news)
    }
}

impl Event {
    pub(crate) fn code(&self) -> &str {
        self.text("code")
    }

    pub(crate) fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap_or_default()
    }

    pub(crate) fn id(&self) -> Result<ActivationId> {
        self.text("activation").parse().with_context(|| format!("{}", self.0))
    }

    /// When it was recorded, in seconds since 1970.
    pub(crate) fn at(&self) -> Result<i64> {
        self.0["at"].as_i64().context("no time")
    }

    /// A number among its details.
    pub(crate) fn number(&self, field: &str) -> Result<i64> {
        self.0["details"][field].as_i64().with_context(|| format!("no {field}: {}", self.0))
    }

    /// Names among its details.
    pub(crate) fn names(&self, field: &str) -> Vec<String> {
        let all = self.0["details"][field].as_array();
        all.into_iter().flatten().filter_map(|name| name.as_str().map(ToOwned::to_owned)).collect()
    }
}
