//! What the one thread that owns the state receives.
//!
//! In: from the connections' threads, the timer, and those that ask other programs. Out: to [`super::state::Agent`].

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;

use elevate_protocol::id::ActivationId;
use elevate_protocol::message::Versions;
use elevate_protocol::message::agent::{Caller, FactorUse, ToAgent, UseReport};
use elevate_protocol::message::pam::FromChild;
use elevate_protocol::message::person::Ask;
use elevate_protocol::message::refusal::Refusal;
use elevate_protocol::message::session::{SshDenied, SshSession};
use elevate_protocol::name::{Login, Name};
use elevate_protocol::secret::Secret;

use crate::closing::Closed;
use crate::flavour::{Binary, Sudo};
use crate::host_keys::Shown;
use crate::nss::{Account, NssError};
use crate::process::Process;
use crate::sshd_log::reading::{Reading, ReadingError};

/// Roles by login.
pub(crate) type Roles = BTreeMap<Login, Vec<Name>>;

/// One message.
#[derive(Debug)]
pub(crate) enum Message {
    /// The timer rang.
    Tick,
    /// Something changed that rules stand on.
    Changed,
    /// `elevate-link` connected.
    LinkUp(UnixStream),
    /// The daemon says something through it.
    LinkSays {
        /// On which connection.
        serial: u64,
        /// What.
        said: Box<ToAgent>,
    },
    /// That connection is over.
    LinkDown {
        /// Which.
        serial: u64,
    },
    /// Somebody connected at door 1. The kernel said who.
    Knock {
        /// The connection.
        stream: UnixStream,
        /// Who.
        uid: u32,
    },
    /// `pam_elevate.so` saw something, said so and waits for the answer.
    Used {
        /// Where it waits.
        stream: UnixStream,
        /// What it saw.
        used: Box<UseReport>,
    },
    /// `pam_elevate.so` tells of a connection to sshd and waits for the answer.
    Ssh {
        /// Where it waits.
        stream: UnixStream,
        /// What it says.
        asked: Box<SshSession>,
    },
    /// Connections were closed.
    Closed(Vec<(Process, Closed)>),
    /// sshd's log was read, or not.
    SshdLog(Result<Reading, ReadingError>),
    /// Somebody at door 1 does something.
    Door {
        /// On which connection.
        serial: u64,
        /// What.
        event: DoorEvent,
    },
    /// A PAM child does something.
    Pam {
        /// For which connection.
        serial: u64,
        /// Which of its children.
        child: u64,
        /// What.
        event: PamEvent,
    },
    /// The checks of a document are done.
    Checked {
        /// Its place.
        seq: u64,
        /// Nothing, or why it is refused.
        result: Result<(), String>,
    },
    /// The accounts of the grants in force were looked up again.
    Accounts(BTreeMap<ActivationId, AccountState>),
    /// A list of revoked certificates was made, or not.
    Revoked {
        /// Its version.
        version: u64,
        /// Nothing, or why sshd goes on with the one of before.
        made: Result<(), String>,
    },
    /// sshd's keys and the certificates of this host were looked at, or certificates put in place.
    HostKeys {
        /// The keys that sshd shows; none: they are not known.
        shown: Option<Vec<Shown>>,
        /// What went wrong.
        problem: Option<String>,
    },
    /// The installed sudo was asked again.
    Sudo {
        /// Its file when it was.
        binary: Binary,
        /// Which it is.
        sudo: Sudo,
    },
    /// The accounts of offers were looked up.
    Resolved {
        /// The connection on which they came.
        link: u64,
        /// The offers.
        roles: Roles,
        /// The accounts that are there.
        accounts: Result<Vec<Account>, NssError>,
    },
}

/// What became of an account that a right was granted to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AccountState {
    /// It is the same.
    Same,
    /// It is gone or another one.
    Changed(String),
    /// Nobody could tell.
    Unknown,
}

/// Something at door 1.
#[derive(Debug)]
pub(crate) enum DoorEvent {
    /// Which versions the person's program speaks.
    Hello(Versions),
    /// The one question, and who asks.
    Asked {
        /// Who, with the login of the uid.
        caller: Caller,
        /// What.
        ask: Box<Ask>,
    },
    /// What was typed at a prompt.
    Input(Secret),
    /// What `pam_elevate.so` saw.
    Used(Box<UseReport>),
    /// `pam_elevate.so` needs the second factor for one use.
    AtUse(Box<FactorUse>),
    /// `pam_elevate.so` tells of a connection to sshd.
    Ssh(Box<SshSession>),
    /// The program that sshd asks has opened nothing for a certificate.
    SshDenied(Box<SshDenied>),
    /// The reader refuses to go on.
    Refused(Refusal),
    /// The connection is over.
    Closed,
}

/// Something of a PAM child.
#[derive(Debug)]
pub(crate) enum PamEvent {
    /// It says something.
    Says(FromChild),
    /// It is gone.
    Gone,
}
