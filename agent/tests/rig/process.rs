//! The agent's process, for tests that look at it from outside or end it in their own way.
//!
//! In: a host. Out: its number, or the process itself.

use std::process::Child;

use super::Rig;

impl Rig {
    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.agent.as_ref().unwrap().id()
    }

    /// The process; the host is without an agent from then on.
    pub(crate) fn take(&mut self) -> Child {
        self.agent.take().unwrap()
    }
}
