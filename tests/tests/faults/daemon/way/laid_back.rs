//! The way from a folder that was laid back to the first right of the new epoch (docs/faults.md "A backup is laid back").
//!
//! In: a daemon that has forgotten a right, a host that has it. Out: nothing begins before the words of both roots, and then it does.

use elevate_protocol::message::admin::{AdminAsk, AdminOutcome};
use elevate_protocol::message::refusal::Code;

use super::{Step, Way, text};
use crate::daemon::talk::{Lost, admin};

impl Way {
    /// Root accepts what was laid back, the host's log begins anew, a right begins and ends.
    pub(super) fn walk_to_the_new_epoch(&mut self) {
        self.take(&[
            ("nothing begins", Self::nothing_begins),
            ("accept", Self::accept),
            ("new epoch", Self::new_epoch),
            ("confirm", Self::confirm),
            ("quick", Self::quick_in_the_new_epoch),
            ("drop", Self::give_back),
        ]);
    }

    fn nothing_begins(&mut self) -> Step {
        match self.ask_anew("web-quick", 300) {
            Err(Lost::Refused(refusal)) if refusal.code == Code::Locked => {
                self.acknowledge("restore.found", None)
            }
            Err(other) => Err(other),
            Ok(view) => panic!("a right was given: {view:?}"),
        }
    }

    fn accept(&mut self) -> Step {
        let waits = admin(&self.vault.socket(), AdminAsk::RestoreShow)?;
        if matches!(waits, AdminOutcome::Restore(Some(_))) {
            let ask = AdminAsk::RestoreAccept { reason: text("the disk was lost") };
            admin(&self.vault.socket(), ask)?;
        }
        self.acknowledge("restore.accepted", None)
    }

    fn new_epoch(&mut self) -> Step {
        self.until("the new epoch", |way| way.peer.seen().new_epoch == Some(2))?;
        self.acknowledge("host.epoch", None)
    }

    fn confirm(&mut self) -> Step {
        self.peer.confirm();
        self.until("the host", |way| way.peer.is_welcome())?;
        self.recorded()?;
        self.acknowledge("host.epoch-confirmed", None)?;
        self.acknowledge("host.ended", None)
    }

    /// A daemon that was killed before it had written its witness anew asks root once more.
    fn quick_in_the_new_epoch(&mut self) -> Step {
        match self.quick() {
            Err(Lost::Refused(refusal)) if refusal.code == Code::Locked => {
                self.accept()?;
                Err(Lost::Gone)
            }
            done => done,
        }
    }
}
