//! When grants end on CLOCK_BOOTTIME, which nobody can set: what the agent leaves for the PAM gate and for its next start.
//!
//! In: the agent's reckoning, in milliseconds since the machine booted. Out: the file `/run/elevate/deadlines.json`, which is root's
//! and does not outlive a boot. Spec: docs/grant-format.md "Deadlines". Threats G01, G06.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::ActivationId;
use crate::time::Span;

/// Longest such file in bytes.
pub const DEADLINES_MAX: u64 = 4 * 1024 * 1024;

/// The file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deadlines {
    /// The last moment at which the daemon is known to have had nothing unsaid for this host; none: not since the boot.
    pub contact: Option<u64>,
    /// The end of each grant, whatever the wall clock says.
    pub ends: BTreeMap<ActivationId, u64>,
}

/// Why a grant is over by the clock of this boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Overdue {
    /// No end is known: not of this boot, or not the agent's.
    #[error("its end on this boot's clock is not known")]
    Unknown,
    /// Its time is over.
    #[error("its time is over by this boot's clock")]
    Ended,
    /// The lease is over.
    #[error("the daemon was not heard for longer than its lease of {0}")]
    NoContact(Span),
}

impl Deadlines {
    /// Whether a grant with this lease holds at `boot`.
    ///
    /// # Errors
    /// [`Overdue`] that says why not.
    pub fn check(&self, id: ActivationId, lease: Option<Span>, boot: u64) -> Result<(), Overdue> {
        let ends = self.ends.get(&id).ok_or(Overdue::Unknown)?;
        if boot >= *ends {
            return Err(Overdue::Ended);
        }
        let Some(lease) = lease else { return Ok(()) };
        // A contact that lies ahead is none of this boot.
        match self.contact.filter(|contact| *contact <= boot) {
            Some(contact) if boot < lease_ends(contact, lease) => Ok(()),
            Some(_) | None => Err(Overdue::NoContact(lease)),
        }
    }
}

/// The end of a lease that counts from `contact`, both in milliseconds since the boot.
#[must_use]
pub fn lease_ends(contact: u64, lease: Span) -> u64 {
    contact.saturating_add(u64::from(lease.0).saturating_mul(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_holds_until_its_end_or_its_lease_whatever_comes_first() {
        let id = ActivationId::from_random([1; 16]);
        let at = |contact| Deadlines { contact, ends: BTreeMap::from([(id, 100_000)]) };
        assert_eq!(at(None).check(id, None, 99_999), Ok(()));
        assert_eq!(at(None).check(id, None, 100_000), Err(Overdue::Ended));
        let lease = Some(Span(10));
        assert_eq!(at(Some(50_000)).check(id, lease, 59_999), Ok(()));
        assert_eq!(at(Some(50_000)).check(id, lease, 60_000), Err(Overdue::NoContact(Span(10))));
        assert_eq!(at(Some(95_000)).check(id, lease, 100_000), Err(Overdue::Ended));
    }

    #[test]
    fn what_is_not_known_does_not_hold() {
        let id = ActivationId::from_random([1; 16]);
        let deadlines = Deadlines { contact: None, ends: BTreeMap::from([(id, 100_000)]) };
        assert_eq!(deadlines.check(id, Some(Span(10)), 1), Err(Overdue::NoContact(Span(10))));
        let ahead = Deadlines { contact: Some(5_000), ..deadlines };
        assert_eq!(ahead.check(id, Some(Span(10)), 4_999), Err(Overdue::NoContact(Span(10))));
        assert_eq!(ahead.check(ActivationId::from_random([2; 16]), None, 1), Err(Overdue::Unknown));
    }
}
