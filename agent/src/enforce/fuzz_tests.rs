//! The fuzz target of the reader as an ordinary test: the checked-in corpus and changes of it (threats A02, A03).
//!
//! In: `fuzz/corpus/sudoers`. Out: pass or fail. `make fuzz` runs the same target guided by coverage.

use super::{reader, replay, sudoers_target};

#[test]
fn a03_what_the_reader_takes_is_in_the_one_form_there_is() {
    for taken in [
        include_str!("../../../fuzz/corpus/sudoers/one"),
        include_str!("../../../fuzz/corpus/sudoers/many"),
        include_str!("../../../fuzz/corpus/sudoers/shell"),
    ] {
        assert!(reader::read(taken).is_ok(), "the corpus has drop-ins that are taken: {taken}");
    }
    replay::replay("sudoers", sudoers_target::run, 50_000);
}
