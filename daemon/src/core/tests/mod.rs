//! The core for real: SQLite on disk, real signatures, a clock that is moved by hand. The tests stand where the doors stand.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets what it does not expect panics, and that is its answer"
)]

mod actors;
mod administering;
mod amending;
mod apart;
mod approvals;
mod at_use;
mod backlog;
mod between;
mod called;
mod certificates;
mod changes;
mod delivery;
mod ends;
mod epochs;
mod export;
mod factors;
mod floods;
mod histories;
mod host_ca;
mod hosts;
mod key_away;
mod keys;
mod large;
mod lifecycle;
mod locks;
mod model;
mod model_tests;
mod moved_keys;
mod place;
mod recovery;
mod replacing;
mod restart;
mod restored;
mod user_ca;
mod watched;
mod watching;
