//! The agent's process, for tests that look at it from outside or end it in their own way.
//!
//! In: a host. Out: its number, the process itself, or a file that it cannot replace for a while.

use std::process::{Child, Command};

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

    /// What stands at `path` cannot be replaced by the agent: in its own namespace it is a mount point, rename(2) says EBUSY.
    pub(crate) fn hold(&self, path: &str) {
        self.mount("mount --bind \"$1\" \"$1\"", path);
    }

    /// It can again.
    pub(crate) fn let_go(&self, path: &str) {
        self.mount("umount \"$1\"", path);
    }

    fn mount(&self, script: &str, path: &str) {
        let mut command = Command::new("/usr/bin/nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.pid())).args(["/bin/sh", "-c", script, "sh"]);
        assert!(command.arg(self.path(path)).status().unwrap().success(), "{script} {path}");
    }
}
