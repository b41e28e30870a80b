//! What the log says: the vocabulary of events, their canonical bytes and their RFC 5424 form.
//!
//! In: what happened, as typed values. Out: one line of JSON, or one syslog message. Sends nothing, reads no clock.
//! Spec: docs/events.md.

#![forbid(unsafe_code)]

#[macro_use]
mod define;
#[macro_use]
mod claim;

mod canonical;
mod detail;
mod event;
mod kind;
mod rfc5424;

pub use canonical::{EVENT_MAX, EventError};
pub use detail::{Level, LockKind, LockScope, Used};
pub use event::{Actor, Door, Event, Subject};
pub use kind::Kind;
pub use rfc5424::{DATAGRAM_MAX, Origin, SD_ID, SYSLOG_MAX, SyslogError, to_syslog};
