//! How conversations end, what is told meanwhile, and why they break.
//!
//! In: nothing. Out: types. Spec: docs/cli.md "Waiting".

use std::time::Duration;

use elevate_protocol::message::VERSION;
use elevate_protocol::message::parts::PartError;
use elevate_protocol::message::person::Outcome;
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::message::view::ActivationView;
use nix::errno::Errno;

use crate::door::DoorError;
use crate::typing::TypingError;

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// For machines only: leave as soon as people have to decide.
    Machines,
    /// For people too; none: as long as it takes.
    People(Option<Duration>),
    /// For whatever comes, until told to stop.
    Follow,
}

/// How a conversation ended.
#[derive(Debug)]
pub enum End {
    /// Done.
    Done(Outcome),
    /// Refused.
    Refused(Refusal),
    /// Left by this side; what is pending stays pending.
    Left {
        /// As it was last told.
        last: Option<Box<ActivationView>>,
        /// Why.
        why: Leaving,
    },
}

/// Why this side left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaving {
    /// Ctrl-C or a signal.
    Interrupted,
    /// The time that was given is over, or none was given.
    TimeOver,
}

/// What is told while it goes on.
#[derive(Debug)]
pub enum Told<'a> {
    /// An activation, and how it was before.
    Progress(&'a ActivationView, Option<&'a ActivationView>),
    /// An event as canonical JSON.
    Event(&'a str),
    /// The URI of a new factor.
    Seed(&'a str),
}

/// Why a conversation broke.
#[derive(Debug, thiserror::Error)]
pub enum TalkError {
    /// The way itself.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// The terminal.
    #[error(transparent)]
    Typing(#[from] TypingError),
    /// No word for too long.
    #[error("no answer within {} s", .0.as_secs())]
    Silent(Duration),
    /// A code is wanted and nobody is there who could type it.
    #[error("a code is needed and nobody can be asked here")]
    FactorNeeded,
    /// Nothing is understood by both.
    #[error("the other side speaks version {0}, this program version {VERSION}")]
    Version(u16),
    /// Something that does not belong here.
    #[error("the other side said something that does not belong here ({0})")]
    Unexpected(&'static str),
    /// A long answer that is none.
    #[error(transparent)]
    Part(#[from] PartError),
    /// The system refused something that always works.
    #[error("cannot wait")]
    Wait(#[source] Errno),
}

impl TalkError {
    /// Its stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Door(error) => error.code(),
            Self::Silent(_) => Code::Unreachable,
            Self::FactorNeeded => Code::Factor,
            Self::Version(_) => Code::Version,
            Self::Typing(_) | Self::Unexpected(_) | Self::Part(_) | Self::Wait(_) => Code::Internal,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Door(error) => error.hint(),
            Self::Silent(_) => Some("nothing is lost: elevate shows what is there".to_owned()),
            Self::FactorNeeded => Some("type it on a terminal, without -n".to_owned()),
            Self::Version(_) => Some("update the older side".to_owned()),
            Self::Typing(_) | Self::Unexpected(_) | Self::Part(_) | Self::Wait(_) => None,
        }
    }
}
