//! Which parts of rules visudo(8) has accepted here, so that it is asked once for each part and not for each grant.
//!
//! In: the sudo part of a grant. Out: whether the same part was accepted by the same visudo. The rules of two grants with the same
//! part differ only in numbers that we write: uid, id and end.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use elevate_protocol::digest::Digest;
use elevate_protocol::sudo::SudoPart;

use crate::flavour::{Dialect, VISUDO};

/// Most parts that are remembered; then all are forgotten.
const MOST: usize = 256;

/// What was accepted since the agent started.
#[derive(Debug, Clone, Default)]
pub(crate) struct Accepted(Arc<Mutex<BTreeSet<Digest>>>);

/// A part, the sudo that it is for, and the very files that may judge it: another visudo is asked anew.
#[must_use]
pub(crate) fn question(part: &SudoPart, dialect: Dialect) -> Option<Digest> {
    question_to(part, dialect, &VISUDO.map(Path::new))
}

fn question_to(part: &SudoPart, dialect: Dialect, programs: &[&Path]) -> Option<Digest> {
    let identity = |program: &&Path| {
        let meta = std::fs::metadata(program).ok()?;
        Some([meta.dev(), meta.ino(), meta.size(), meta.mtime().unsigned_abs(), meta.ctime().unsigned_abs()])
    };
    let identities: Vec<Option<[u64; 5]>> = programs.iter().map(identity).collect();
    // None of them there: whoever judges is not known.
    identities.iter().any(Option::is_some).then_some(())?;
    let text = serde_json::to_string(&(part, format!("{dialect:?}"), identities)).ok()?;
    Some(Digest::of(text.as_bytes()))
}

impl Accepted {
    /// Whether this was accepted.
    #[must_use]
    pub(crate) fn has(&self, question: Digest) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&question)
    }

    /// Remembers that it was.
    pub(crate) fn add(&self, question: Digest) {
        let mut accepted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if accepted.len() >= MOST {
            accepted.clear();
        }
        accepted.insert(question);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enforce::samples::runs;

    #[test]
    fn what_was_accepted_is_the_same_part_by_the_same_program_and_bounded() {
        let place = tempfile::tempdir().unwrap();
        let visudo = place.path().join("visudo");
        std::fs::write(&visudo, "one").unwrap();
        let part = runs(r#"{"as":"root","run":[["/usr/bin/id"]]}"#);
        let asked = question_to(&part, Dialect::Classic, &[&visudo]).unwrap();
        let accepted = Accepted::default();
        assert!(!accepted.has(asked));
        accepted.add(asked);
        assert!(accepted.has(question_to(&part, Dialect::Classic, &[&visudo]).unwrap()));
        let other = runs(r#"{"as":"root","run":[["/usr/bin/id","-u"]]}"#);
        assert!(!accepted.has(question_to(&other, Dialect::Classic, &[&visudo]).unwrap()));
        assert!(!accepted.has(question_to(&part, Dialect::Rs, &[&visudo]).unwrap()));
        std::fs::write(&visudo, "another").unwrap();
        assert!(!accepted.has(question_to(&part, Dialect::Classic, &[&visudo]).unwrap()));
        for number in 0..MOST {
            accepted.add(Digest::of(number.to_string().as_bytes()));
        }
        assert!(!accepted.has(asked) && accepted.0.lock().unwrap().len() <= MOST);
    }
}
