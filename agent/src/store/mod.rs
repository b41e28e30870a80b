//! What the agent keeps across restarts: documents, its place in the host's log, reports.
//!
//! In: verified documents and reports. Out: files below /var/lib/elevate, each durable before it is relied on. Runs as: root.

pub(crate) mod connections;
mod count;
pub(crate) mod documents;
mod entry;
mod lines;
pub(crate) mod position;
mod room;
pub(crate) mod spool;
