//! The service: one thread that owns all state, fed by small threads that parse and forward (docs/architecture.md "Programs").
//!
//! In: grants, people, time. Out: rules that sudo obeys, reports. Runs as: root.

pub(crate) mod connections;
pub(crate) mod contact;
pub(crate) mod documents;
pub(crate) mod epochs;
pub(crate) mod flavour;
pub(crate) mod grants;
pub(crate) mod host_keys;
mod keys;
mod link;
pub(crate) mod manager;
pub(crate) mod message;
pub(crate) mod mine;
pub(crate) mod people;
pub(crate) mod place;
mod refused;
mod revoked;
pub(crate) mod ssh;
pub(crate) mod start;
pub(crate) mod state;
pub(crate) mod watch;

use std::convert::Infallible;

use crate::paths::Paths;
use start::StartError;

/// Starts, reconciles and serves until the process is ended.
///
/// # Errors
/// [`StartError`] when it cannot start, or can no longer go on.
pub(crate) fn run(paths: &Paths) -> Result<Infallible, StartError> {
    let (mut agent, receiver) = start::start(paths)?;
    loop {
        // The agent itself holds a sender, so the channel never closes.
        let message = receiver.recv().map_err(|_| StartError::Channel)?;
        agent.receive(message);
    }
}
