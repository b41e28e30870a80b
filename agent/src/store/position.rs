//! The place in the host's log: which epoch, which document was applied last, and what was refused of late.
//!
//! In: applied documents. Out: the file `position`, JSON. Written by enroll at first. Spec: docs/grant-format.md "Order".

use std::collections::BTreeMap;

use elevate_protocol::digest::Digest;
use elevate_protocol::document;
use elevate_protocol::message::agent::LAST_MAX;
use elevate_protocol::signed::SignedBody;
use elevate_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::paths::Paths;
use crate::safe::{self, Durability, SafeError};

/// Refusals that are remembered for a daemon that asks again.
const REFUSALS: usize = 64;
const FILE_MAX: u64 = 256 * 1024;

/// Epoch and place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Position {
    /// The epoch that root agreed to.
    pub(crate) epoch: u32,
    /// Place of the last applied document; 0 at first.
    pub(crate) seq: u64,
    /// What the log is up to that place; none at first.
    #[serde(default)]
    pub(crate) head: Option<Digest>,
    /// The document of that place, for a daemon that was restored from a backup: none when it is longer than a hello shows.
    #[serde(default)]
    pub(crate) last: Option<SignedBody>,
    /// The latest wall clock that was seen when this was written.
    #[serde(default = "long_ago")]
    pub(crate) seen: Timestamp,
    /// Why documents were refused, by place.
    #[serde(default)]
    pub(crate) refused: BTreeMap<u64, String>,
}

fn long_ago() -> Timestamp {
    Timestamp(0)
}

/// Why the position is not known. Without it no document is applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PositionError {
    /// The file cannot be used.
    #[error("the place in the host's log is not known; run elevate-agent enroll")]
    File {
        /// Why.
        source: SafeError,
    },
    /// The file is not ours.
    #[error("the file of the place in the host's log is not valid")]
    Parse {
        /// Why.
        source: serde_json::Error,
    },
}

impl Position {
    /// Before the first document of an epoch.
    #[must_use]
    pub(crate) fn begin(epoch: u32, now: Timestamp) -> Self {
        Self { epoch, seq: 0, head: None, last: None, seen: now, refused: BTreeMap::new() }
    }

    /// The same after the next document.
    #[must_use]
    pub(crate) fn next(&self, signed: &SignedBody, refused: Option<String>, now: Timestamp) -> Self {
        let mut next = self.clone();
        next.seq = self.seq.saturating_add(1);
        next.head = Some(document::head(self.head, &signed.body));
        next.last = Some(signed.clone()).filter(|last| last.body.len() <= LAST_MAX);
        next.seen = self.seen.max(now);
        if let Some(why) = refused {
            next.refused.insert(next.seq, why);
        }
        while next.refused.len() > REFUSALS {
            next.refused.pop_first();
        }
        next
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`PositionError`].
    pub(crate) fn load(paths: &Paths) -> Result<Self, PositionError> {
        let text = safe::read(&paths.position, FILE_MAX).map_err(|source| PositionError::File { source })?;
        serde_json::from_str(&text).map_err(|source| PositionError::Parse { source })
    }

    /// Makes it durable.
    ///
    /// # Errors
    /// [`PositionError`]; the old one then still counts.
    pub(crate) fn save(&self, paths: &Paths) -> Result<(), PositionError> {
        let text = serde_json::to_string(self).map_err(|source| PositionError::Parse { source })?;
        safe::write(&paths.position, &text, 0o600, Durability::Disk)
            .map_err(|source| PositionError::File { source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A place that reads as an earlier one would let documents be applied twice.
    #[test]
    fn r19_a_position_that_was_cut_anywhere_is_none() {
        let place = tempfile::tempdir().unwrap();
        let paths = Paths::below(place.path());
        std::fs::create_dir_all(paths.position.parent().unwrap()).unwrap();
        let signed = SignedBody { body: "a document".into(), signature: "signed".into() };
        let long = SignedBody { body: "d".repeat(LAST_MAX + 1), ..signed.clone() };
        let before = Position::begin(3, Timestamp(1_800_000_000)).next(&long, None, Timestamp(0));
        assert_eq!((before.last.as_ref(), before.seq), (None, 1));
        let whole = before.next(&signed, Some("no".into()), Timestamp(0));
        assert_eq!(whole.last, Some(signed));
        whole.save(&paths).unwrap();
        assert_eq!(Position::load(&paths).unwrap(), whole);
        let text = std::fs::read(&paths.position).unwrap();
        for length in 0..text.len() {
            std::fs::write(&paths.position, &text[..length]).unwrap();
            assert!(Position::load(&paths).is_err(), "{length} of {} bytes", text.len());
        }
        std::fs::remove_file(&paths.position).unwrap();
        assert!(Position::load(&paths).is_err());
    }
}
