//! The fuzz target of the policy as an ordinary test: the checked-in corpus and changes of it (THREATS §0.2, R30).
//!
//! In: `fuzz/corpus/policy`. Out: pass or fail. `make fuzz` runs the same target guided by coverage.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that meets what it does not expect panics, and that is its answer"
)]

#[path = "../../fuzz/targets/policy.rs"]
mod policy;
#[path = "../../fuzz/targets/replay.rs"]
mod replay;

#[test]
fn a_policy_that_is_taken_says_the_same_when_it_is_written_out() {
    replay::replay("policy", policy::run, 2000);
}
