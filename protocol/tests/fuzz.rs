//! The fuzz targets of this crate as ordinary tests: the checked-in corpus and changes of it (THREATS §0.2, R30).
//!
//! In: `fuzz/corpus`. Out: pass or fail. `make fuzz` runs the same targets guided by coverage.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that meets what it does not expect panics, and that is its answer"
)]

#[path = "fuzz/corpus.rs"]
mod corpus;
#[path = "../../fuzz/targets/frame.rs"]
mod frame;
#[path = "../../fuzz/targets/grant.rs"]
mod grant;
#[path = "../../fuzz/targets/paste.rs"]
mod paste;
#[path = "../../fuzz/targets/replay.rs"]
mod replay;
#[path = "../../fuzz/targets/ssh_login.rs"]
mod ssh_login;

#[test]
fn b06_no_frame_panics_and_each_reads_back_as_it_was_written() {
    replay::replay("frame", frame::run, 10_000);
}

#[test]
fn c15_nothing_verifies_but_what_was_signed_whatever_is_changed() {
    replay::replay("grant", grant::run, 10_000);
}

#[test]
fn e02_no_login_proves_a_grant_but_by_a_certificate_that_the_ca_has_signed() {
    replay::replay("ssh_login", ssh_login::run, 10_000);
}

#[test]
fn h02_a_paste_string_that_is_taken_is_written_as_it_was() {
    replay::replay("paste", paste::run, 20_000);
}

/// `CORPUS=1` writes the files that are signed or hold a checksum; without it they are compared.
#[test]
fn the_corpus_is_what_the_code_makes() {
    corpus::hold();
}
