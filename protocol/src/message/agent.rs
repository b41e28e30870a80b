//! A host's agent and the daemon, on the subsystem `elevate-agent`.
//!
//! In: [`ToAgent`], whose documents are signed. Out: [`SignedBody`] frames, each a [`crate::vouch::Vouch`] of a [`Claim`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Versions;
use super::person::{Reply, Say};
use super::refusal::Refusal;
use super::session::{SshConnection, SshEnd};
use crate::digest::Digest;
use crate::document::EndCause;
use crate::flavour::Enforcement;
use crate::flavour::SshEnforcement;
use crate::host_ssh::{HostKeys, HostNames};
use crate::id::{ActivationId, ClusterId, HostId, Nonce};
use crate::name::{Login, Name};
use crate::signed::SignedBody;
use crate::ssh::Ca;
use crate::text::UntrustedText;
use crate::time::{Span, Timestamp};

/// Most conversations of one host at a time.
pub const CONVERSATIONS_MAX: usize = 256;
/// Longest document that a hello shows, in bytes.
pub const LAST_MAX: usize = 16 * 1024;
/// How often each side speaks when it has nothing to say.
pub const HEARTBEAT: Span = Span(15);
/// Silence after which the other side is taken for lost.
pub const SILENCE_MAX: Span = Span(45);

/// What the daemon says to an agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ToAgent {
    /// First of all.
    Hello {
        /// Versions spoken.
        versions: Versions,
        /// The cluster.
        cluster: ClusterId,
        /// Binds every vouch to this connection.
        nonce: Nonce,
        /// The daemon's clock.
        time: Timestamp,
    },
    /// The agent's hello was accepted.
    Welcome {
        /// The version both speak.
        version: u16,
        /// The host's name as the daemon has it.
        name: Name,
        /// Highest number of this host's reports that is recorded; 0: none.
        reported: u64,
    },
    /// Instead of a welcome: the host's log is another than ours. A signed [`crate::epoch::NewEpoch`].
    Epoch(SignedBody),
    /// The next document of the host's log, or one that was not acknowledged.
    Document(SignedBody),
    /// Everything that people may activate on this host: replaces what was said before.
    Offers {
        /// Roles by login; without those that allow nothing through sudo, so there may be none for a login.
        roles: BTreeMap<Login, Vec<Name>>,
    },
    /// Reports up to and including this number are durable.
    Recorded {
        /// Highest number.
        number: u64,
    },
    /// To a person's conversation.
    Conversation {
        /// Which; the agent counts them up, never again the same on one connection.
        conversation: u64,
        /// What.
        reply: Reply,
    },
    /// The answer to a question about contact: a signed [`crate::contact::Contact`].
    Contact(SignedBody),
    /// What certificates of this host say from now on: replaces what was said before.
    HostTerms {
        /// Its own name and others.
        names: HostNames,
        /// The key that signs them.
        ca: Ca,
    },
    /// The answer to [`Claim::HostKeys`].
    HostCertificates {
        /// One for each key, in OpenSSH's form.
        certificates: Vec<String>,
    },
    /// Nothing else to say.
    Heartbeat {
        /// The daemon's clock.
        time: Timestamp,
    },
    /// The connection ends with this.
    Refused(Refusal),
}

/// What a host claims. Each travels signed, see [`crate::vouch`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Claim {
    /// First of all.
    Hello(AgentHello),
    /// A document was applied, or refused for good.
    Applied {
        /// Its place in the host's log.
        seq: u64,
        /// What came of it.
        result: Applied,
    },
    /// A document did not follow the last one: send from here.
    Missing {
        /// The first place that is missing.
        from: u64,
    },
    /// Another sudo is installed than the hello said, or enforcement began or stopped.
    Sudo(Enforcement),
    /// sshd asks which certificates open an account, or does so no longer.
    Ssh(SshEnforcement),
    /// What accounts the offered logins are on this host; those that are missing have none.
    Accounts {
        /// Uids by login.
        uids: BTreeMap<Login, u32>,
    },
    /// Something happened on the host.
    Report {
        /// Counts up over the host's life.
        number: u64,
        /// When, by the host's clock.
        at: Timestamp,
        /// What.
        report: Report,
    },
    /// A person speaks through door 1. The kernel said who.
    Conversation {
        /// Which.
        conversation: u64,
        /// Who.
        caller: Caller,
        /// What.
        say: Say,
    },
    /// A question about contact: whether there is a document that this host does not have.
    Contact {
        /// Answered once.
        nonce: Nonce,
    },
    /// Asks for certificates of the keys that sshd shows here.
    HostKeys {
        /// Their public halves.
        keys: HostKeys,
    },
    /// Nothing else to say.
    Heartbeat {
        /// The host's clock.
        time: Timestamp,
    },
}

/// An agent's hello.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentHello {
    /// Versions spoken.
    pub versions: Versions,
    /// The host.
    pub host: HostId,
    /// The agent's version.
    pub agent: String,
    /// Which sudo enforces here, if one does.
    pub sudo: Enforcement,
    /// Whether certificates open accounts here.
    pub ssh: SshEnforcement,
    /// Epoch of the last applied document.
    pub epoch: u32,
    /// Place of the last applied document; 0 at first.
    pub seq: u64,
    /// What the log is up to that place ([`crate::document::head`]); none at first.
    pub head: Option<Digest>,
    /// The last applied document itself: who has signed it knew of it. None at first, and where it is longer than [`LAST_MAX`].
    pub last: Option<SignedBody>,
    /// Fresh: what the daemon may answer about epochs is bound to it.
    pub nonce: Nonce,
    /// The host's clock.
    pub time: Timestamp,
}

/// What became of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Applied {
    /// In force, or known before.
    Enforced,
    /// Not enforced here.
    Refused {
        /// Why.
        why: UntrustedText,
    },
}

/// Who speaks through door 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Caller {
    /// From SO_PEERCRED.
    pub uid: u32,
    /// What NSS calls that uid.
    pub login: Login,
}

/// What a host reports. "host-claimed" in the log: a host's root can invent or withhold these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Report {
    /// A right was used.
    Used {
        /// Under these grants, all that the person had at that moment.
        grants: Vec<ActivationId>,
        /// How.
        used: UseReport,
    },
    /// A person was warned of a near end.
    Warned {
        /// Which grant.
        grant: ActivationId,
        /// Time left.
        left: Span,
    },
    /// A grant's rights were removed.
    Ended {
        /// Which grant.
        grant: ActivationId,
        /// Why.
        cause: EndCause,
    },
    /// The PAM gate closed: it found a drop-in without a valid grant and removed it.
    GateClosed {
        /// Whose.
        uid: u32,
        /// Why, as the gate says.
        why: UntrustedText,
    },
    /// A use that needs the second factor was refused.
    UseRefused {
        /// Under these grants, all that the person had at that moment.
        grants: Vec<ActivationId>,
        /// Whose.
        uid: u32,
        /// Why.
        why: UntrustedText,
    },
    /// Somebody logged in by a certificate.
    SshLogin {
        /// Under this grant.
        grant: ActivationId,
        /// Where and how.
        connection: SshConnection,
    },
    /// Such a connection is over, or what it had left running.
    SshLogout {
        /// Under this grant.
        grant: ActivationId,
        /// Which.
        connection: SshConnection,
        /// How it ended.
        end: SshEnd,
    },
    /// A login by a certificate was refused.
    SshRefused {
        /// The grant that the certificate is of, where it is of one.
        grant: Option<ActivationId>,
        /// The account on the host that it was to open.
        login: UntrustedText,
        /// Where it came from, as sshd says.
        from: Option<UntrustedText>,
        /// Why.
        why: UntrustedText,
    },
    /// Reports that had no room on the host while the daemon was away: nobody will ever see them.
    Lost {
        /// How many, exactly.
        count: u64,
        /// Number of the first.
        first: u64,
        /// Number of the last.
        last: u64,
    },
    /// The wall clock was set; CLOCK_BOOTTIME says by how much.
    ClockStep {
        /// Seconds that it jumped; back when negative.
        by: i64,
    },
    /// The host's root said that a new epoch is right; what was in force in the one before has ended.
    Epoch {
        /// The epoch that began.
        epoch: u32,
    },
    /// Something was where it should not be, or not as it should be.
    Tampered {
        /// What, and what was done about it.
        what: UntrustedText,
    },
    /// The agent started.
    Started {
        /// Its version.
        agent: String,
        /// Grants in force after the start.
        grants: u32,
    },
}

/// One use of sudo, as `pam_elevate.so` saw it from inside the sudo process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UseReport {
    /// The invoking account.
    pub uid: u32,
    /// What was seen.
    pub kind: UseKind,
    /// The PAM service: `sudo`, `sudo-i`.
    pub service: UntrustedText,
    /// The account that the command runs as, where it is known.
    pub run_as: Option<UntrustedText>,
    /// The arguments of the sudo process, from /proc/self/cmdline; cut when very long.
    pub argv: Vec<UntrustedText>,
    /// The directory.
    pub directory: Option<UntrustedText>,
    /// The terminal.
    pub terminal: Option<UntrustedText>,
    /// The sudo process.
    pub pid: u32,
}

/// Which terminal of which session a use comes from, as the kernel says it of the sudo process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seat {
    /// The controlling terminal's device number; terminals are used again.
    pub tty: u64,
    /// The session: the pid of its leader; pids are used again.
    pub session: u32,
    /// When the leader began, in clock ticks since the machine started; not used again.
    pub began: u64,
}

/// `pam_elevate.so` asks whether the second factor is there for one use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FactorUse {
    /// The invoking account.
    pub uid: u32,
    /// Where it is used.
    pub seat: Seat,
    /// The terminal's name, to be shown.
    pub terminal: Option<UntrustedText>,
    /// The arguments of the sudo process, to be shown.
    pub argv: Vec<UntrustedText>,
}

/// What the module saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum UseKind {
    /// A command starts.
    Start,
    /// The gate refused and removed the drop-in.
    GateClosed {
        /// Why.
        why: UntrustedText,
    },
    /// A use that needs the second factor was refused.
    NotProven {
        /// Why.
        why: UntrustedText,
    },
}
