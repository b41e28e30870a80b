//! Faults: the programs are killed, cut off from power or refused by the kernel at every change they make to a disk.
//!
//! In: the built programs, strace. Out: one test for each promise of docs/faults.md. Runs as: root. Spec: docs/faults.md.
//! `ELEVATE_FAULTS=all` takes every point with every mode; otherwise each point takes its turn with one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    clippy::print_stderr,
    reason = "a test ends with the first thing that is not as it should be"
)]

mod agent;
mod campaign;
mod daemon;
mod link;
mod point;
mod strace;
