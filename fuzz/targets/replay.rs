//! A fuzz target as an ordinary test: the corpus, and as many changes of it as a test may take, the same each time.
//!
//! In: the folder of a corpus, a target. Out: nothing, or the target's panic, after the input that caused it was printed.

#![allow(clippy::arithmetic_side_effects, reason = "sums of small numbers in a test; an overflow fails it")]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

/// Runs the corpus of `name` and `changes` inputs made from it.
pub(crate) fn replay(name: &str, target: fn(&[u8]), changes: u32) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort_unstable();
    let corpus: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    assert!(!corpus.is_empty(), "{} is empty", folder.display());
    corpus.iter().for_each(|input| told(target, input));
    let mut numbers = Numbers(0x5eed);
    for _ in 0..changes {
        told(target, &changed(&corpus, &mut numbers));
    }
}

fn told(target: fn(&[u8]), input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) {
        eprintln!("the input was: {}", input.escape_ascii());
        resume_unwind(panic);
    }
}

/// SplitMix64 by Sebastiano Vigna, public domain.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }
}

/// One of the corpus after one to six changes: bits, bytes, pieces cut out, doubled, or taken from another one.
fn changed(corpus: &[Vec<u8>], numbers: &mut Numbers) -> Vec<u8> {
    const TELLING: &[u8] = b"\0\n\r\"'\\#!,:=*?[]{}()%+-/.~^$@ \x1b\x7f\xff0ALz";
    let mut input = corpus[numbers.below(corpus.len())].clone();
    for _ in 0..=numbers.below(6) {
        let at = numbers.below(input.len());
        let to = (at + numbers.below(24)).min(input.len());
        match numbers.below(7) {
            0 if !input.is_empty() => input[at] ^= 1 << numbers.below(8),
            1 if !input.is_empty() => input[at] = TELLING[numbers.below(TELLING.len())],
            2 => input.insert(at, TELLING[numbers.below(TELLING.len())]),
            3 => drop(input.drain(at..to)),
            4 => {
                let piece = input[at..to].to_vec();
                input.splice(at..at, piece);
            }
            5 => {
                let other = &corpus[numbers.below(corpus.len())];
                let from = numbers.below(other.len());
                let piece = other[from..(from + numbers.below(80)).min(other.len())].to_vec();
                input.splice(at..to, piece);
            }
            _ => input.truncate(at),
        }
    }
    input
}
