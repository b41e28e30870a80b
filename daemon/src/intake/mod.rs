//! The doors: SSH from anywhere, a local socket for root on this machine.
//!
//! In: connections. Out: conversations of proven speakers, handed to the core. Everything here is bounded: how many,
//! how long, how large. Spec: docs/wire.md "Transports"; threats B06, B07, H05, H09.

pub(crate) mod admin;
mod agent;
mod counter;
mod enrol;
mod frames;
mod person;
pub(crate) mod ssh;

#[cfg(test)]
mod admin_tests;

use std::time::Duration;

/// How long to wait for what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Until a connection must have authenticated.
    pub(crate) login: Duration,
    /// For the first message of a conversation.
    pub(crate) first: Duration,
    /// For the rest of a message that has begun (threat B06: 5 s).
    pub(crate) frame: Duration,
    /// Until a peer has taken a message that is sent to it.
    pub(crate) write: Duration,
    /// For an authenticated connection on which nothing goes on.
    pub(crate) idle: Duration,
}

impl Patience {
    /// The daemon's, with the login time of the configuration.
    #[must_use]
    pub(crate) fn with_login(seconds: u32) -> Self {
        Self {
            login: Duration::from_secs(seconds.into()),
            first: Duration::from_secs(30),
            frame: Duration::from_secs(5),
            write: Duration::from_secs(30),
            idle: Duration::from_secs(60),
        }
    }
}
