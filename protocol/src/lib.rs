//! The bytes that cross a process or host boundary, and the types that prove what was checked about them.
//!
//! In: bytes from a socket or a file. Out: values that hold only what is valid. Runs as: whoever links it.
//! Spec: docs/wire.md, docs/grant-format.md. No I/O but [`frame`]'s reading and writing, no clock, no randomness.

#![forbid(unsafe_code)]

pub mod asked;
pub mod contact;
pub mod date;
pub mod deadlines;
pub mod digest;
pub mod document;
pub mod epoch;
pub mod flavour;
pub mod frame;
pub mod host_ssh;
pub mod id;
pub mod krl;
pub mod message;
pub mod name;
pub mod paste;
pub mod person_key;
pub mod principals;
pub mod secret;
pub mod signed;
pub mod signers;
pub mod ssh;
pub mod ssh_login;
pub mod sudo;
pub mod text;
pub mod time;
pub mod vouch;
