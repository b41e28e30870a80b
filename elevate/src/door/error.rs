//! What can keep a person from the daemon.
//!
//! In: failures of sockets and SSH. Out: a sentence, its code, and what to do.

use std::io;
use std::path::PathBuf;

use elevate_protocol::frame::FrameError;
use elevate_protocol::message::refusal::Code;

/// Why there is no conversation.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// This host has no agent and no daemon is set up.
    #[error("this machine is not managed by Elevate, and no daemon is set up for you")]
    Nowhere,
    /// Only through one's own key, and no daemon is set up here.
    #[error("this needs your own key, and no daemon is set up for you here")]
    OwnKey {
        /// What to type where the key is.
        command: String,
    },
    /// Only on a managed host.
    #[error("this works on a managed host only; there is no agent here")]
    NotManaged,
    /// A local socket that does not answer.
    #[error("cannot reach {path}")]
    Socket {
        /// Its path.
        path: PathBuf,
        /// Agent or daemon.
        code: Code,
        /// What the system says.
        source: io::Error,
    },
    /// The socket is held by somebody else. Nothing was sent.
    #[error("{path} is held by uid {uid}, which is not the {who}; nothing was sent")]
    Peer {
        /// Its path.
        path: PathBuf,
        /// Who holds it.
        uid: u32,
        /// Who should.
        who: &'static str,
    },
    /// A socket that others may replace or write.
    #[error("{path} is not safe to use: {why}; nothing was sent")]
    Unsafe {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The daemon's address does not answer.
    #[error("cannot reach the daemon at {address}")]
    Connect {
        /// As pinned.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// Somebody answers who has not the daemon's key. Nothing was sent, no key was shown.
    #[error(
        "the key at {address} is {found}, pinned is {pinned}: this is not your daemon, or it was set up anew"
    )]
    HostKey {
        /// As pinned.
        address: String,
        /// As pinned.
        pinned: String,
        /// As found.
        found: String,
    },
    /// The key exchange was not the strict one: somebody may have cut it (threat H06, CVE-2023-48795).
    #[error("{address} does not speak strict key exchange; nothing was sent")]
    NotStrict {
        /// As pinned.
        address: String,
    },
    /// There is no key to show.
    #[error("no SSH key of yours was found")]
    NoKey,
    /// A key file that is not usable.
    #[error("the key {path} cannot be used: {why}")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// No key was taken.
    #[error("the daemon at {address} knows none of your keys; tried {}", .tried.join(", "))]
    Unknown {
        /// As pinned.
        address: String,
        /// Fingerprints.
        tried: Vec<String>,
    },
    /// SSH broke.
    #[error("the connection to {address} failed")]
    Ssh {
        /// As pinned.
        address: String,
        /// What russh says.
        source: Box<russh::Error>,
    },
    /// The daemon does not speak with people here.
    #[error("{address} refuses the subsystem for people")]
    Subsystem {
        /// As pinned.
        address: String,
    },
    /// The other side hung up in the middle.
    #[error("the other side ended the conversation")]
    Closed,
    /// The other side does not speak as agreed.
    #[error("the conversation broke")]
    Frame {
        /// How.
        #[source]
        source: FrameError,
    },
    /// The system refused something that always works.
    #[error("cannot {what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What it says.
        source: io::Error,
    },
}

impl From<russh::Error> for DoorError {
    /// The address is filled in by whoever knows it.
    fn from(error: russh::Error) -> Self {
        Self::Ssh { address: String::new(), source: Box::new(error) }
    }
}

impl DoorError {
    /// Its stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Nowhere | Self::Connect { .. } | Self::Ssh { .. } | Self::Subsystem { .. } => {
                Code::Unreachable
            }
            Self::Closed => Code::Unreachable,
            Self::OwnKey { .. } | Self::NotManaged => Code::WrongDoor,
            Self::Socket { code, .. } => *code,
            Self::Peer { .. } | Self::Unsafe { .. } | Self::HostKey { .. } | Self::NotStrict { .. } => {
                Code::Integrity
            }
            Self::NoKey | Self::Key { .. } => Code::Usage,
            Self::Unknown { .. } => Code::NotEligible,
            Self::Frame { .. } | Self::System { .. } => Code::Internal,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Nowhere => {
                "elevate login STRING   (an administrator makes the string: elevatectl person invite YOU)"
            }
            Self::OwnKey { command } => {
                return Some(format!("from your own machine, with your own key: {command}"));
            }
            Self::NotManaged => "log in to the host and type it there",
            Self::Socket { code: Code::Host, .. } => "as root on this host: elevate-agent status",
            Self::Socket { .. } => "is elevated running, and are you root or its own account?",
            Self::Peer { .. } | Self::Unsafe { .. } => "tell an administrator: somebody may be listening",
            Self::Connect { .. } | Self::Ssh { .. } | Self::Closed => "nothing was changed; try again",
            Self::HostKey { .. } => {
                "ask an administrator; only if it was set up anew: take its entry out of client.toml and elevate login again"
            }
            Self::NotStrict { .. } | Self::Subsystem { .. } => "is this address really the daemon's?",
            Self::NoKey => "ssh-keygen -t ed25519, or ssh-add your key, or name one: elevate -i FILE …",
            Self::Key { .. } => "ssh-add it to your ssh-agent, or name another: elevate -i FILE …",
            Self::Unknown { .. } => {
                "an administrator has to put your public key into the policy; one that is there already may wait (elevatectl person list)"
            }
            Self::Frame { .. } | Self::System { .. } => return None,
        };
        Some(hint.to_owned())
    }
}
