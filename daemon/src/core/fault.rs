//! What can fail in the core that is nobody's input, and how a conversation stops.
//!
//! In: errors of the store, the factor, the issuer. Out: [`Stop`]. A fault is told to the log, never to the peer.

use elevate_protocol::message::refusal::{Code, Refusal};

use crate::factor::FactorError;
use crate::issue::IssueError;
use crate::issue::certificate::CertificateError;
use crate::issue::host_certificate::HostCertificateError;
use crate::store::StoreError;

/// Something failed that is nobody's input.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The store.
    #[error("the store did not do it")]
    Store {
        /// Why.
        #[from]
        source: StoreError,
    },
    /// The factor could not be looked at.
    #[error("a factor could not be looked at")]
    Factor {
        /// Why.
        #[from]
        source: FactorError,
    },
    /// A document was not issued.
    #[error("a document was not issued")]
    Issue {
        /// Why.
        #[from]
        source: IssueError,
    },
    /// A certificate was not issued.
    #[error("a certificate was not issued")]
    Certificate {
        /// Why.
        #[from]
        source: CertificateError,
    },
    /// A certificate for a host was not issued.
    #[error("a certificate for a host was not issued")]
    HostCertificate {
        /// Why.
        #[from]
        source: HostCertificateError,
    },
    /// A value could not be written as JSON.
    #[error("a value could not be written")]
    Form {
        /// Why.
        #[from]
        source: serde_json::Error,
    },
    /// No randomness.
    #[error("the system gives no random bytes")]
    Random {
        /// Why.
        #[from]
        source: getrandom::Error,
    },
    /// Something that the store's own rules exclude.
    #[error("{what} is not as it must be")]
    Broken {
        /// What.
        what: &'static str,
    },
}

/// How a conversation stops before it is done.
#[derive(Debug)]
pub(super) enum Stop {
    /// Nobody listens any more.
    Left,
    /// Refused, with what the person is told.
    Refuse(Refusal),
    /// Failed; the person is told nothing but that.
    Fault(Fault),
}

/// What a part of a conversation comes to.
pub(super) type Told<T> = Result<T, Stop>;

impl<E: Into<Fault>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Fault(error.into())
    }
}

/// A refusal as a stop.
pub(super) fn refuse<T>(code: Code, message: impl Into<String>) -> Told<T> {
    Err(Stop::Refuse(Refusal::new(code, message)))
}

/// A refusal with a hint as a stop.
pub(super) fn refuse_hint<T>(code: Code, message: impl Into<String>, hint: impl Into<String>) -> Told<T> {
    Err(Stop::Refuse(Refusal::new(code, message).hint(hint)))
}
