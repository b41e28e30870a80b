//! A person and the daemon. Through door 2 directly; through door 1 with the agent between, which vouches.
//!
//! One conversation carries one [`Ask`]. In: [`Say`] from the person's side. Out: [`Reply`] from the other.

use super::lock::LockedView;
use serde::{Deserialize, Serialize};

use super::Versions;
use super::admin::{AdminAsk, AdminOutcome};
use super::agent::{FactorUse, Seat, UseReport};
use super::refusal::Refusal;
use super::session::{SshDenied, SshSession};
use super::view::{
    AccountView, ActivationView, CertificateView, EligibilityView, ExplanationView, FactorView, OverviewView,
};
use crate::digest::Digest;
use crate::id::{ActivationId, IdPrefix, Nonce};
use crate::krl::RevokedHosts;
use crate::name::{HostWord, Name};
use crate::secret::Secret;
use crate::ssh::Cas;
use crate::text::UntrustedText;
use crate::time::{Span, Timestamp};

/// What the person's side says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Say {
    /// First of all.
    Hello {
        /// Versions spoken.
        versions: Versions,
    },
    /// The one question of this conversation.
    Ask(Ask),
    /// The code for a challenge. Door 1: from the agent, after its PAM child asked for it.
    Answer {
        /// Which challenge.
        challenge: Nonce,
        /// The code as typed.
        code: Secret,
    },
    /// Door 1 only, from the agent: what the whole PAM stack said after the daemon's verdict.
    Confirm {
        /// Which challenge.
        challenge: Nonce,
        /// Whether the stack let the person pass.
        passed: bool,
    },
    /// Door 1 only, from `elevate` to the agent: what was typed at a [`Reply::Prompt`].
    Input {
        /// As typed.
        text: Secret,
    },
    /// The person stops waiting; what is pending stays pending.
    Leave,
    /// Only on the agent's own socket and only from uid 0: what `pam_elevate.so` saw.
    Use(UseReport),
    /// Only there too: it needs the second factor for one use.
    AtUse(FactorUse),
    /// Only there too, from within sshd: a connection by a certificate of ours.
    Ssh(SshSession),
    /// Only there, and only from the program that sshd asks.
    SshDenied(SshDenied),
}

/// What can be asked. Through door 1 only the person's own requests about that host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ask {
    /// Activate a role.
    Request(RequestAsk),
    /// Wait for, or start, a request that is there.
    Resume {
        /// Which.
        id: IdPrefix,
    },
    /// What is active, what may be activated, what waits for me.
    Overview,
    /// What I may activate.
    Eligible,
    /// My activations.
    Activations {
        /// Also those that are over.
        all: bool,
    },
    /// What was asked for and had, newest first: one's own; of others, what one has decided about.
    History {
        /// Whose; none: one's own. Of others through one's own key only.
        person: Option<Name>,
        /// How far back, by when it was asked; none: 90 days.
        since: Option<Span>,
    },
    /// One activation.
    Show {
        /// Which.
        id: IdPrefix,
        /// With the signed documents (door 2 and the daemon's own machine only).
        documents: bool,
    },
    /// Requests that wait: for my decision, or mine.
    Requests {
        /// Only those that I may decide.
        to_review: bool,
        /// Only my own.
        mine: bool,
        /// Stay and tell of each change as [`Reply::Progress`].
        watch: bool,
    },
    /// Approve a request. Door 2.
    Approve {
        /// Which.
        id: IdPrefix,
        /// Said to the requester and the log.
        reason: Option<UntrustedText>,
    },
    /// Deny a request. Door 2.
    Deny {
        /// Which.
        id: IdPrefix,
        /// Said to the requester and the log.
        reason: UntrustedText,
    },
    /// Take back my own request.
    Cancel {
        /// Which.
        id: IdPrefix,
    },
    /// Give my own grant back.
    Drop {
        /// Which; none when there is only one.
        id: Option<IdPrefix>,
        /// All of them.
        all: bool,
    },
    /// Make my own grant last longer, within the role's maximum.
    Extend {
        /// Which; none when there is only one.
        id: Option<IdPrefix>,
        /// By how much.
        by: Span,
        /// Why.
        reason: Option<UntrustedText>,
    },
    /// Why a command on a host is or is not allowed, for me.
    Why {
        /// The host; none through door 1: this one.
        host: Option<HostWord>,
        /// The command.
        argv: Vec<String>,
    },
    /// Whether I could activate a role.
    CanI {
        /// The role.
        role: Name,
        /// The host; none: any.
        host: Option<HostWord>,
    },
    /// Enrol a second factor. Door 2.
    FactorAdd {
        /// The invitation's token, or a recovery code.
        invitation: Secret,
    },
    /// Make a set of recovery codes. Door 2.
    RecoveryMake,
    /// A certificate for SSH under a grant that is there. Door 2.
    Certificate(CertificateAsk),
    /// The keys whose certificates of hosts are believed, and the hosts whose are not any more. Door 2.
    HostCas,
    /// Lock myself, everywhere. Through door 1 with a code.
    LockMe {
        /// For how long; none: until an administrator lifts it.
        ttl: Option<Span>,
        /// Said to the log, and whenever I am refused.
        reason: Option<UntrustedText>,
    },
    /// My factors.
    FactorList,
    /// Try my factor, without any effect.
    FactorTest,
    /// The second factor for one use of grants. Door 1, and there from the agent only: no program of a person asks it.
    AtUse(AtUseAsk),
    /// Who I am to the daemon.
    Whoami,
    /// Administration: on the daemon's own socket, as root.
    Admin(AdminAsk),
}

/// One use of sudo that needs the second factor. All of it is in the digest that the challenge names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AtUseAsk {
    /// The grants that ask for it.
    pub grants: Vec<ActivationId>,
    /// Where it is used.
    pub seat: Seat,
    /// Makes this use one of its own.
    pub nonce: Nonce,
    /// The terminal's name and the command, to be shown.
    pub shown: UntrustedText,
}

/// For which key, under which grant. What is left out is found where only one grant fits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateAsk {
    /// The person's public key: the line of a `.pub` file.
    pub key: String,
    /// The grant.
    pub grant: Option<IdPrefix>,
    /// Its role.
    pub role: Option<Name>,
    /// A host of it.
    pub host: Option<HostWord>,
    /// An account that it opens there.
    pub login: Option<Name>,
    /// For machines without agent: the principals are accounts.
    #[serde(default)]
    pub agentless: bool,
}

/// A request for activation, as the person asks it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestAsk {
    /// The role.
    pub role: Name,
    /// Hosts as they are called. None through door 1: this host. None through door 2: the one host in scope, if there is only one.
    pub hosts: Vec<HostWord>,
    /// How long; none: the role's default.
    pub duration: Option<Span>,
    /// Why.
    pub reason: Option<UntrustedText>,
    /// The change number.
    pub ticket: Option<UntrustedText>,
    /// Stay until it is active, denied or over. Otherwise a pending request is a refusal with code `pending`.
    pub wait: bool,
    /// Decide and say what would happen; nothing is recorded.
    #[serde(default)]
    pub dry_run: bool,
    /// One's own open request of the same role that this one takes the place of, in one step with its own recording.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amends: Option<IdPrefix>,
}

/// What the other side says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Reply {
    /// The answer to a hello.
    Hello {
        /// The version both speak.
        version: u16,
    },
    /// The daemon wants the second factor.
    Challenge(Challenge),
    /// Door 1 only, from the agent: a prompt of its PAM stack.
    Prompt {
        /// The text.
        text: UntrustedText,
        /// Whether what is typed may be seen.
        echo: bool,
    },
    /// At door 1, from the agent: a message of its PAM stack. From the daemon: what an administrator should know beside the answer.
    Notice {
        /// The text.
        text: UntrustedText,
    },
    /// What became of an answer.
    Verdict {
        /// Whether the code was right.
        accepted: bool,
        /// Tries left for this challenge.
        tries: u8,
        /// What was wrong, for the person.
        message: Option<String>,
    },
    /// Enrolling a factor: the otpauth URI, shown once.
    Seed {
        /// `otpauth://totp/…`.
        uri: Secret,
    },
    /// An activation changed while somebody waits or watches.
    Progress(Box<ActivationView>),
    /// An event, while somebody follows the log: canonical JSON.
    Event(String),
    /// A piece of an answer that is longer than one frame, see [`super::parts`]; the conversation is over with the last one.
    Part {
        /// A piece of the JSON of the [`Outcome`].
        text: String,
        /// How many parts are still to come.
        left: u32,
    },
    /// Door 1 only, from the agent, before it refuses: the daemon cannot be reached, and what is in force here meanwhile.
    Away(Away),
    /// Done; the conversation is over.
    Done(Outcome),
    /// Refused; the conversation is over.
    Refused(Refusal),
}

/// What a host that is cut off can tell of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Away {
    /// The last contact with the daemon; none: not since the agent started.
    pub since: Option<Timestamp>,
    /// The person's grants that are in force here.
    pub grants: Vec<AwayGrant>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwayGrant {
    /// Its id.
    pub id: ActivationId,
    /// The role.
    pub role: Name,
    /// First second that is too late if the daemon stays away.
    pub until: Timestamp,
    /// Whether the lease says so, before the grant's own end.
    pub lease: bool,
}

/// The daemon's demand for a second factor, bound to one ask and usable once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    /// Its id.
    pub id: Nonce,
    /// Digest of the JSON of the [`Ask`] that it is for. The agent prompts only for an ask that it vouched for.
    pub ask: Digest,
    /// What the person is told: "Code for alice: start dba on db1".
    pub prompt: UntrustedText,
}

impl Ask {
    /// The digest that a [`Challenge`] names.
    ///
    /// # Errors
    /// When serde cannot write a field; no value of these types does that.
    pub fn digest(&self) -> Result<Digest, serde_json::Error> {
        serde_json::to_vec(self).map(|bytes| Digest::of(&bytes))
    }
}

/// What was done.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Outcome {
    /// One activation as it is now.
    Activation(Box<ActivationView>),
    /// Several.
    Activations(Vec<ActivationView>),
    /// What may be activated.
    Eligible(Vec<EligibilityView>),
    /// Everything about me.
    Overview(OverviewView),
    /// An explanation.
    Explanation(ExplanationView),
    /// My factors.
    Factors(Vec<FactorView>),
    /// A factor is enrolled, and counts from then on, or when an administrator confirms it.
    Waits {
        /// First second in which it counts by itself.
        counts_at: Timestamp,
    },
    /// Recovery codes, shown once.
    Recovery(Vec<Secret>),
    /// A certificate, after the log has it.
    Certificate(Box<CertificateView>),
    /// Which certificates of hosts are believed.
    HostCas {
        /// By these keys, oldest first.
        cas: Cas,
        /// But not of these hosts.
        revoked: RevokedHosts,
    },
    /// What locking myself did.
    Locked(Box<LockedView>),
    /// Who I am.
    Account(AccountView),
    /// Administration.
    Admin(AdminOutcome),
    /// Nothing to say but that it is done.
    Ok,
}
