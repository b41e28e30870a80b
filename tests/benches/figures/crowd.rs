//! Simulated agents that are connected at the same time.
//!
//! In: enrolled hosts. Out: what is seen of them, in order. Dropped, all of them are gone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use elevate_protocol::id::HostId;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout_at;

use crate::agents::{Seen, Simulated};
use crate::site::Site;

/// How long all of them may take for one thing.
const PATIENCE: Duration = Duration::from_secs(90);

/// How many connect at once at first: fewer than the daemon lets in that have not authenticated.
const AT_A_TIME: usize = 200;

/// Connected agents.
pub(crate) struct Crowd {
    kept: Vec<JoinHandle<()>>,
    seen: Arc<Mutex<UnboundedReceiver<(HostId, Seen, Instant)>>>,
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for task in &self.kept {
            task.abort();
        }
    }
}

impl Crowd {
    /// Connects all of them, some at a time, and waits until each is in sync.
    pub(crate) fn gather(site: &Site, agents: &[Arc<Simulated>]) -> Result<Self> {
        let (told, seen) = unbounded_channel();
        let mut crowd = Self { kept: Vec::new(), seen: Arc::new(Mutex::new(seen)) };
        for part in agents.chunks(AT_A_TIME) {
            let (part, server, told) = (part.to_vec(), site.server.clone(), told.clone());
            let number = part.len();
            crowd.kept.extend(site.run(async move {
                Ok(part.iter().map(|host| host.keep(&server, told.clone())).collect::<Vec<_>>())
            })?);
            crowd.wait(site, Seen::InSync, number)?;
        }
        Ok(crowd)
    }

    /// Forgets what was seen so far.
    pub(crate) fn forget(&self, site: &Site) -> Result<()> {
        let seen = Arc::clone(&self.seen);
        site.run(async move {
            let mut seen = seen.lock().await;
            while seen.try_recv().is_ok() {}
            Ok(())
        })
    }

    /// When each of them came to this; waits for all.
    pub(crate) fn times(&self, site: &Site, wanted: Seen) -> Result<Vec<Instant>> {
        self.wait(site, wanted, self.kept.len())
    }

    fn wait(&self, site: &Site, wanted: Seen, number: usize) -> Result<Vec<Instant>> {
        let seen = Arc::clone(&self.seen);
        site.run(async move {
            let mut seen = seen.lock().await;
            let end = tokio::time::Instant::now().checked_add(PATIENCE).context("no time")?;
            let (mut who, mut times) = (BTreeSet::new(), Vec::new());
            while who.len() < number {
                let next = timeout_at(end, seen.recv()).await;
                let next = next.with_context(|| format!("{} of {number} agents", who.len()))?;
                let (host, what, at) = next.context("no agents")?;
                if what == wanted && who.insert(host) {
                    times.push(at);
                }
            }
            Ok(times)
        })
    }
}
