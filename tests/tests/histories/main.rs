//! Random histories of a whole fleet, with the real sudo as oracle: nobody gets in whom the model does not let in (I1, I2, I10).
//!
//! In: the staged build and the tree; `HISTORIES` (1), `HISTORY_STEPS` (30) and `HISTORY_SEED` for long runs. Out: pass, or the whole
//! history up to the step after which somebody is in who must not be, or not in who must be. Runs as: root, in test hosts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stderr,
    reason = "a test ends with the first thing that is not as it should be"
)]

mod ask;
mod log;
#[path = "../../../daemon/src/core/tests/model.rs"]
mod model;
mod reach;
mod step;
mod sudo;
mod verdict;
mod world;

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use step::{Step, step};
use world::World;

fn number(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// One history, and what came of each step; an error says all of it.
fn live(world: &mut World, steps: &[Step]) -> Result<()> {
    let mut told = String::new();
    for (number, step) in steps.iter().enumerate() {
        let begun = Instant::now();
        let done = world.step(step).and_then(|outcome| {
            told.push_str(&format!("{number:3} {step:?} -> {outcome}\n"));
            world.judge()
        });
        done.with_context(|| format!("at step {number}, {step:?}, after:\n{told}{}", world.shown()))?;
        if std::env::var_os("HISTORY_SHOW").is_some() {
            eprint!("{:>5} ms {}", begun.elapsed().as_millis(), told.lines().last().unwrap_or_default());
            eprintln!();
        }
    }
    world.settle().with_context(|| format!("when all was over, after:\n{told}{}", world.shown()))
}

#[test]
fn nobody_gets_in_whom_the_model_does_not_let_in() -> Result<()> {
    let (histories, steps) = (number("HISTORIES", 1), number("HISTORY_STEPS", 30));
    let seed = u8::try_from(number("HISTORY_SEED", 7))?;
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut world = World::new()?;
    for history in 0..histories {
        let steps = proptest::collection::vec(step(), steps).new_tree(&mut runner).unwrap().current();
        live(&mut world, &steps).with_context(|| format!("history {history} of seed {seed}"))?;
    }
    eprintln!("{histories} histories of {steps} steps: {}", world.counted());
    // Otherwise it proves nothing.
    ensure!(world.in_ > 0 && world.out > 0, "{}", world.counted());
    Ok(())
}
