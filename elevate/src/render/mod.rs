//! What is shown of what the daemon says: text for people, JSON, YAML and CSV for scripts.
//!
//! In: views of the protocol, now and the zone as arguments. Out: [`crate::paint::Line`]s and JSON. Decides nothing.

pub mod activation;
pub mod admin;
pub mod away;
pub mod csv;
pub mod data;
pub mod json;
pub mod keys;
pub mod locks;
pub mod overview;
pub mod progress;
pub mod restore;
pub mod seed;
pub mod table;
pub mod when;
pub mod yaml;

use elevate_protocol::time::Timestamp;
use jiff::tz::TimeZone;

/// The moment and place that things are shown for.
#[derive(Debug, Clone)]
pub struct At {
    /// The moment.
    pub now: Timestamp,
    /// The place.
    pub zone: TimeZone,
}
