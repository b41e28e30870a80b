//! Connections to sshd by certificates of grants: what `pam_elevate.so` says of them inside sshd, and what a host reports.
//!
//! In and out: parts of [`Say`](super::person::Say) and [`Report`](super::agent::Report). Spec: docs/wire.md "A login".

use serde::{Deserialize, Serialize};

use crate::document::EndCause;
use crate::id::ActivationId;
use crate::name::Name;
use crate::text::UntrustedText;
use crate::time::Timestamp;

/// A connection that a certificate of ours has opened. Which process serves it says the kernel, not the message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SshSession {
    /// What happens with it.
    pub phase: SshPhase,
    /// The account that it opens.
    pub login: UntrustedText,
    /// Where it comes from, as sshd says.
    pub from: Option<UntrustedText>,
    /// The certificate in OpenSSH's form; empty where sshd's word about it was not understood.
    pub certificate: String,
}

/// A certificate that opened nothing, as the program saw it that sshd asks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SshDenied {
    /// The account that it was to open.
    pub login: Name,
    /// The grant that its key id names.
    pub grant: ActivationId,
}

/// What the program that sshd asks says at door 1. It waits for no answer.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PrincipalsSays {
    /// A certificate opened nothing.
    SshDenied(SshDenied),
}

/// What happens with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SshPhase {
    /// It has been let in and nothing runs in it yet. It goes on only with the agent's word.
    Opened,
    /// It is over; what it started may still run.
    Closing,
}

/// A connection, as a host reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SshConnection {
    /// The account on the host.
    pub login: Name,
    /// Where it came from, as sshd says.
    pub from: Option<UntrustedText>,
    /// The certificate's serial.
    pub serial: u64,
    /// SHA-256 of the certified key.
    pub fingerprint: UntrustedText,
    /// The process of sshd that serves it.
    pub pid: u32,
    /// When it began, by the host's clock.
    pub since: Timestamp,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum SshEnd {
    /// By the person, the network, or sshd.
    Closed,
    /// The same, while no agent looked.
    Unseen,
    /// The agent closed it, since its grant was over.
    Grant {
        /// Why the grant was over, where the agent that closed it knew.
        cause: Option<EndCause>,
        /// Processes of it that were ended.
        killed: u32,
    },
    /// It was over before, and what it had left running was ended with the grant.
    Remains {
        /// Why the grant was over, where the agent knew.
        cause: Option<EndCause>,
        /// Processes that were ended.
        killed: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Decoder, encode};
    use crate::message::person::Say;

    #[test]
    fn what_the_program_says_is_what_the_agent_reads() {
        let denied =
            SshDenied { login: "deploy".parse().unwrap(), grant: ActivationId::from_random([1; 16]) };
        let mut decoder = Decoder::default();
        decoder.feed(&encode(&PrincipalsSays::SshDenied(denied.clone())).unwrap());
        let said = decoder.next_message::<Say>().unwrap().unwrap();
        assert!(matches!(said, Say::SshDenied(found) if found == denied));
    }
}
