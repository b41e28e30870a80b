//! Everything the agent knows, owned by one thread.
//!
//! In: [`Message`]s. Out: files, frames, reports. Nothing here waits for a peer, a name service or another program.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use elevate_protocol::id::ActivationId;
use elevate_protocol::message::agent::Report;
use elevate_protocol::signed::SignedBody;
use elevate_protocol::text::UntrustedText;

use super::connections::Connected;
use super::contact::Contact;
use super::documents::Pending;
use super::flavour::Flavour;
use super::grants::Standing;
use super::host_keys::HostCertificates;
use super::link::Link;
use super::manager::Manager;
use super::message::{Message, Roles};
use super::mine::Mine;
use super::people::People;
use super::place::{Early, Unplaced};
use super::refused::Refusals;
use super::revoked::Revoked;
use super::ssh::Ssh;
use crate::changed::OnItsWay;
use crate::clock::{self, Alarm, Boot, Moment};
use crate::config::Identity;
use crate::enforce::accepted::Accepted;
use crate::journal::{self, Level};
use crate::paths::Paths;
use crate::probe::ProbeError;
use crate::store::position::Position;
use crate::store::spool::Spool;

/// The agent.
#[derive(Debug)]
pub(crate) struct Agent {
    /// Where everything is.
    pub(crate) paths: Paths,
    /// Who this host is and whom it trusts.
    pub(crate) identity: Arc<Identity>,
    /// Which sudo there is.
    pub(crate) flavour: Flavour,
    /// What visudo has accepted.
    pub(crate) accepted: Accepted,
    /// Whether rules may be installed.
    pub(crate) enforcement: Result<(), ProbeError>,
    /// The host's sshd.
    pub(crate) ssh: Ssh,
    /// What sshd has of revoked certificates.
    pub(crate) revoked: Revoked,
    /// What there is for people who ask whether this is the host.
    pub(crate) host_certificates: HostCertificates,
    /// The place in the host's log.
    pub(crate) position: Position,
    /// The epoch that the daemon says begins, and that waits for the word of this host's root.
    pub(crate) new_epoch: Option<u32>,
    /// Grants that are held.
    pub(crate) grants: BTreeMap<ActivationId, Standing>,
    /// Grants that are over or refused, and whose files could not be removed: the next start would obey them.
    pub(crate) lingering: BTreeSet<ActivationId>,
    /// Connections of sshd under grants.
    pub(crate) connected: Connected,
    /// Logins by certificates that were refused.
    pub(crate) refusals: Refusals,
    /// What is known of the daemon's presence.
    pub(crate) contact: Contact,
    /// Reports that wait.
    pub(crate) spool: Spool,
    /// The connection to the daemon.
    pub(crate) link: Option<Link>,
    /// Counts connections of the link.
    pub(crate) link_serial: u64,
    /// Documents that wait for their turn.
    pub(crate) inbox: VecDeque<SignedBody>,
    /// The document that is being checked.
    pub(crate) checking: Option<Pending>,
    /// The document that is done with, but for its place on the disk.
    pub(crate) unplaced: Option<Unplaced>,
    /// What has ended all the same.
    pub(crate) early: Early,
    /// Offers whose accounts are to be looked up, each answered once and in order; the first is being looked up when
    /// [`Rounds::resolving`] says so.
    pub(crate) offers: VecDeque<Roles>,
    /// People at door 1.
    pub(crate) people: People,
    /// What both clocks said when they were last read.
    pub(crate) clocks: Moment,
    /// When things are due that come round again.
    pub(crate) rounds: Rounds,
    /// Whether the next [`Message::Changed`] is on its way.
    pub(crate) change: OnItsWay,
    /// What `status` was last told.
    pub(crate) told: String,
    /// What people were last told of their own; none: what lies there is of another agent.
    pub(crate) mine: Option<Mine>,
    /// Who started us, and hears that the work goes on.
    pub(crate) manager: Manager,
    /// Wakes us.
    pub(crate) alarm: Arc<Alarm>,
    /// To this thread.
    pub(crate) sender: SyncSender<Message>,
}

/// When each recurring thing was done, or is due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rounds {
    /// The last look at PAM files, module and include line.
    pub(crate) looked: Boot,
    /// A look at what lies in our folders.
    pub(crate) reconcile: Boot,
    /// A look at the accounts of grants.
    pub(crate) accounts: Boot,
    /// Whether that look is under way.
    pub(crate) looking: Looking,
    /// Whether the accounts of offers are being looked up.
    pub(crate) resolving: Looking,
}

/// Whether accounts are being looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Looking {
    /// Nobody looks.
    Idle,
    /// A thread looks.
    Busy,
}

impl Agent {
    /// Takes one message in.
    pub(crate) fn receive(&mut self, message: Message) {
        // Whatever waits in the channel, and however much of it: what is over ends first (THREATS G06).
        let now = clock::read();
        self.sweep(now);
        self.watch_clock(now);
        match message {
            Message::Tick => self.tick(clock::read()),
            Message::Changed => self.changed(clock::read()),
            Message::LinkUp(stream) => self.link_up(stream),
            Message::LinkSays { serial, said } => self.link_says(serial, *said),
            Message::LinkDown { serial } => self.link_down(serial),
            Message::Knock { stream, uid } => self.knock(&stream, uid),
            Message::Used { stream, used } => self.used_at_once(&stream, *used),
            Message::Ssh { stream, asked } => self.ssh_at_once(&stream, &asked),
            Message::Closed(closed) => self.closed(&closed),
            Message::SshdLog(read) => self.sshd_log_read(read),
            Message::Revoked { version, made } => self.revoked_made(version, made),
            Message::Door { serial, event } => self.at_door(serial, event),
            Message::Pam { serial, child, event } => self.pam(serial, child, event),
            Message::Checked { seq, result } => self.checked(seq, result),
            Message::Accounts(states) => self.accounts_seen(&states),
            Message::HostKeys { shown, problem } => self.host_keys_found(shown, problem),
            Message::Sudo { binary, sudo } => self.sudo_seen(binary, sudo),
            Message::Resolved { link, roles, accounts } => self.offers_resolved(link, roles, accounts),
        }
        let now = clock::read();
        self.manager.goes_on(now.boot);
        self.set_alarm(now);
        self.tell_status();
        self.tell_people();
    }

    /// Makes a report durable and sends what there is room for.
    pub(crate) fn report(&mut self, now: Moment, report: Report) {
        self.keep(now, report);
        self.send_reports();
    }

    /// Makes a report durable.
    pub(crate) fn keep(&mut self, now: Moment, report: Report) {
        if let Err(error) = self.spool.add(now.wall, report) {
            journal::log(Level::Error, &format!("a report is lost: {}", journal::chain(&error)));
        }
    }

    /// Reports and logs something that was not as it should be.
    pub(crate) fn tampered(&mut self, now: Moment, what: &str) {
        journal::log(Level::Warning, what);
        self.report(now, Report::Tampered { what: UntrustedText::lossy(what) });
    }

    fn set_alarm(&self, now: Moment) {
        if let Err(error) = self.alarm.set(self.due(now)) {
            journal::log(Level::Error, &format!("the timer cannot be set: {error}"));
        }
    }
}
