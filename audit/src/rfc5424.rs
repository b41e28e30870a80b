//! One event as one RFC 5424 message, through the `syslog` crate's formatter.
//!
//! In: an event and where it comes from. Out: bytes, for whoever sends them. Threat I01: the crate passes line ends
//! through and checks neither names nor host, so everything is escaped and bounded here. Spec: docs/events.md "Syslog".

use std::collections::BTreeMap;

use elevate_protocol::digest::Digest;
use elevate_protocol::text::escape;
use syslog::{Facility, Formatter5424, LogFormat, Severity};

use crate::canonical::EventError;
use crate::detail::Level;
use crate::event::{Actor, Event};

/// Our structured data element. 32473 is the enterprise number for examples (RFC 5612), until the project has its own.
pub const SD_ID: &str = "elevate@32473";
/// Longest message in bytes, headers included.
pub const SYSLOG_MAX: usize = 8 * 1024;
/// Longest message for a datagram through a network, headers included: what RFC 5426 §3.2 asks receivers to take.
pub const DATAGRAM_MAX: usize = 2 * 1024;
const HOST_NAME_MAX: usize = 255;

/// Why an event could not be written.
#[derive(Debug, thiserror::Error)]
pub enum SyslogError {
    /// The event itself.
    #[error("the event has no canonical form")]
    Event {
        /// Why.
        source: EventError,
    },
    /// The formatter.
    #[error("the formatter refused: {reason}")]
    Format {
        /// What it says.
        reason: String,
    },
}

/// Where messages come from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The machine's name; what is no host name in RFC 5424 is written `-`.
    pub host: String,
    /// The daemon's process.
    pub pid: u32,
}

/// One message of at most `longest` bytes, without any framing: [`SYSLOG_MAX`] or [`DATAGRAM_MAX`]. An event that is longer is
/// cut and named by its digest. The time stamp is the sending's; the event's own is the parameter `at`.
///
/// # Errors
/// A [`SyslogError`]; no event of the log gives one.
pub fn to_syslog(event: &Event, origin: &Origin, longest: usize) -> Result<Vec<u8>, SyslogError> {
    let formatter = Formatter5424 {
        facility: Facility::LOG_AUTHPRIV,
        hostname: Some(host_field(&origin.host)),
        process: "elevated".to_owned(),
        pid: origin.pid,
    };
    let line = event.to_line().map_err(|source| SyslogError::Event { source })?;
    let data = BTreeMap::from([(SD_ID.to_owned(), parameters(event))]);
    let severity = match event.kind.level() {
        Level::Alert => Severity::LOG_ALERT,
        Level::Warning => Severity::LOG_WARNING,
        Level::Notice => Severity::LOG_NOTICE,
        Level::Info => Severity::LOG_INFO,
    };
    let mut message = Vec::new();
    // The crate's MSGID is a number; the event's code is the parameter `code`. The text is added once its room is known.
    formatter
        .format(&mut message, severity, (0, data, ""))
        .map_err(|error| SyslogError::Format { reason: error.to_string() })?;
    let room = longest.saturating_sub(message.len());
    message.extend(bounded(&line, room).into_bytes());
    Ok(message)
}

fn parameters(event: &Event) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            found.insert(name.to_owned(), escape(&value));
        }
    };
    add("code", Some(event.kind.code().to_owned()));
    add("seq", Some(event.seq.to_string()));
    add("at", Some(event.at.0.to_string()));
    add("actor", Some(actor_text(&event.actor)));
    add("person", event.subject.person.as_ref().map(ToString::to_string));
    add("host", event.subject.host.as_ref().map(ToString::to_string));
    add("role", event.subject.role.as_ref().map(ToString::to_string));
    add("grant", event.subject.activation.map(|id| id.to_string()));
    found
}

fn actor_text(actor: &Actor) -> String {
    match actor {
        Actor::Daemon => "daemon".to_owned(),
        Actor::Person(name) => format!("person:{name}"),
        Actor::Host(name) => format!("host:{name}"),
        Actor::Root(uid) => format!("root:{uid}"),
        Actor::Unknown(address) => format!("unknown:{address}"),
    }
}

/// RFC 5424 §6.2.4: PRINTUSASCII, at most 255.
fn host_field(name: &str) -> String {
    let fits = (1..=HOST_NAME_MAX).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic());
    if fits { name.to_owned() } else { "-".to_owned() }
}

/// The line, or as much of it as fits, `…`, and the digest of all of it.
fn bounded(line: &str, room: usize) -> String {
    let shown = escape(line);
    if shown.len() <= room {
        return shown;
    }
    let mark = format!("… {}", Digest::of(line.as_bytes()));
    let most = room.saturating_sub(mark.len());
    let end = (0..=most).rev().find(|at| shown.is_char_boundary(*at)).unwrap_or(0);
    format!("{}{mark}", shown.get(..end).unwrap_or_default())
}

#[cfg(test)]
#[path = "rfc5424_tests.rs"]
mod tests;
