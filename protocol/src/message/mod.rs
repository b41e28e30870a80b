//! The messages of every conversation. Spec: docs/wire.md, which is written first.
//!
//! In: frames. Out: enums without a default branch: an unknown message is an error, never ignored.
//! [`agent`]: agent and daemon. [`person`]: a person and the daemon, through either door. [`enrol`]: a new host.
//! [`pam`]: the agent and its PAM child. [`sudo_side`]: the module in sudo. [`session`]: the module in sshd. [`parts`]: long answers. [`lock`]: what is locked. [`view`]: what is shown.

pub mod admin;
pub mod agent;
pub mod enrol;
pub mod lock;
pub mod pam;
pub mod parts;
pub mod person;
pub mod refusal;
pub mod session;
pub mod sudo_side;
pub mod view;

use serde::{Deserialize, Serialize};

/// The version of this protocol that this code speaks.
pub const VERSION: u16 = 1;

/// The SSH subsystem of agents.
pub const SUBSYSTEM_AGENT: &str = "elevate-agent";
/// The SSH subsystem of hosts that enrol.
pub const SUBSYSTEM_ENROL: &str = "elevate-enroll";
/// The SSH subsystem of people, door 2.
pub const SUBSYSTEM_PERSON: &str = "elevate";
/// The port that the daemon listens on when nothing else is said.
pub const DEFAULT_PORT: u16 = 7022;

/// The lowest and the highest version that a side speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Versions {
    /// Lowest.
    pub lowest: u16,
    /// Highest.
    pub highest: u16,
}

impl Versions {
    /// What this code speaks.
    pub const OURS: Self = Self { lowest: VERSION, highest: VERSION };

    /// The highest version that both speak.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u16> {
        let highest = self.highest.min(other.highest);
        (highest >= self.lowest && highest >= other.lowest).then_some(highest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version_is_chosen_and_none_is_none() {
        let of = |lowest, highest| Versions { lowest, highest };
        assert_eq!(of(1, 3).common(of(2, 5)), Some(3));
        assert_eq!(of(1, 1).common(of(2, 5)), None);
        assert_eq!(of(3, 2).common(of(1, 9)), None);
    }
}
