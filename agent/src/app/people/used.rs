//! What `pam_elevate.so` saw: a use, a gate that closed, a code that was not given.
//!
//! In: a [`UseReport`] of root's. Out: a report that is durable, then the word that it is; sudo waits for that and not for the daemon.
//! Spec: docs/wire.md "Reports", docs/decisions/0027. A use is never refused for the sake of a report (THREATS §6.2).

use std::io::Write;
use std::os::unix::net::UnixStream;

use elevate_protocol::frame;
use elevate_protocol::id::ActivationId;
use elevate_protocol::message::agent::{Report, UseKind, UseReport};
use elevate_protocol::message::person::{Outcome, Reply};
use elevate_protocol::message::session::SshSession;

use crate::app::state::Agent;
use crate::clock::{self, Moment};
use crate::peer;

impl Agent {
    /// What `pam_elevate.so` saw: reported with the grants that the person has at this moment.
    pub(super) fn used(&mut self, serial: u64, used: UseReport) {
        let now = clock::read();
        self.keep(now, self.report_of(used, now));
        self.reply(serial, &Reply::Done(Outcome::Ok));
        self.leave(serial);
        self.send_reports();
    }

    /// The same for a module that waits at the door. It hears of it once the report is durable, before the daemon does.
    pub(crate) fn used_at_once(&mut self, mut stream: &UnixStream, used: UseReport) {
        let now = clock::read();
        self.keep(now, self.report_of(used, now));
        if let Ok(frame) = frame::encode(&Reply::Done(Outcome::Ok)) {
            // A new connection has room for it. Whoever is gone does not need it.
            drop(stream.set_nonblocking(true).and_then(|()| stream.write_all(&frame)));
        }
        self.send_reports();
    }

    /// The module in sshd, as somebody at the door.
    pub(super) fn ssh_at_door(&mut self, serial: u64, asked: &SshSession) {
        let peer = self.people.visitors.get(&serial).and_then(|visitor| visitor.peer.process());
        match self.ssh_session(peer, asked) {
            Ok(()) => self.reply(serial, &Reply::Done(Outcome::Ok)),
            Err(refusal) => self.reply(serial, &Reply::Refused(refusal)),
        }
        self.leave(serial);
    }

    /// The same where it has said all with its first breath.
    pub(crate) fn ssh_at_once(&mut self, mut stream: &UnixStream, asked: &SshSession) {
        let answer = match self.ssh_session(peer::process(stream), asked) {
            Ok(()) => Reply::Done(Outcome::Ok),
            Err(refusal) => Reply::Refused(refusal),
        };
        if let Ok(frame) = frame::encode(&answer) {
            drop(stream.set_nonblocking(true).and_then(|()| stream.write_all(&frame)));
        }
    }

    fn report_of(&self, used: UseReport, now: Moment) -> Report {
        match &used.kind {
            UseKind::Start => Report::Used { grants: self.ids_of(used.uid, now), used },
            UseKind::GateClosed { why } => Report::GateClosed { uid: used.uid, why: why.clone() },
            UseKind::NotProven { why } => {
                let (grants, why) = (self.ids_of(used.uid, now), why.clone());
                Report::UseRefused { grants, uid: used.uid, why }
            }
        }
    }

    pub(super) fn ids_of(&self, uid: u32, now: Moment) -> Vec<ActivationId> {
        self.in_force(uid, now).iter().map(|grant| grant.live.grant().id).collect()
    }
}
