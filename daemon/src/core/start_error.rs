//! Why the core does not start, and what to do about it.
//!
//! In: errors of store, keys and factors. Out: what stands in the daemon's log, and what `--check-config` says beforehand.

use std::path::PathBuf;

use elevate_protocol::message::admin::Signs;

use super::fault::Fault;
use super::places;
use crate::factor::FactorError;
use crate::keys::KeyError;
use crate::store::StoreError;

/// Why the core does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CoreError {
    /// The store; another daemon on the same folder is one.
    #[error("cannot open the store")]
    Store {
        /// Why.
        #[from]
        source: StoreError,
    },
    /// The seal key is none.
    #[error("the seal key is not usable")]
    Seal {
        /// Why.
        #[from]
        source: FactorError,
    },
    /// A key that cannot be read.
    #[error("the key {fingerprint} for {} cannot be used", places::what(*.signs))]
    Key {
        /// What it signs, or did and hosts trust it still.
        signs: Signs,
        /// `SHA256:…`
        fingerprint: String,
        /// Why.
        source: KeyError,
    },
    /// The first key on a new store.
    #[error("the first key for {} cannot be used", places::what(*.signs))]
    FirstKey {
        /// What it is to sign.
        signs: Signs,
        /// Why.
        source: KeyError,
    },
    /// A file holds another key than the one that hosts trust.
    #[error(
        "{path} holds another key than the one that hosts trust; restore it (elevatectl key rotate makes new ones)"
    )]
    OtherKey {
        /// The file.
        path: PathBuf,
    },
    /// A key signs, or is to sign, two things.
    #[error("one key is to sign for {one} and for {other}: each takes a key of its own (daemon.toml, keys)")]
    SharedKey {
        /// What.
        one: &'static str,
        /// What else.
        other: &'static str,
    },
    /// No randomness.
    #[error("the system gives no random bytes")]
    Random {
        /// What it says.
        #[from]
        source: getrandom::Error,
    },
    /// What was going on cannot be taken up.
    #[error("cannot take up what was going on")]
    TakeUp {
        /// Why.
        #[from]
        source: Fault,
    },
}

impl CoreError {
    /// Whether it only says that something may not, or cannot, be looked at from outside.
    pub(crate) fn is_unseen(&self) -> bool {
        match self {
            Self::Key { source, .. } | Self::FirstKey { source, .. } => source.is_no_entry(),
            Self::Store { .. } | Self::TakeUp { .. } => true,
            Self::Seal { .. } | Self::OtherKey { .. } | Self::SharedKey { .. } | Self::Random { .. } => false,
        }
    }

    /// What to do about it, where the error does not say so itself.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Key { signs, .. } => {
                let setting = places::setting(*signs);
                Some(format!(
                    "lay the file back; or, where an ssh-agent has this key by now, name agent and key in {setting} (daemon.toml), start \
                     elevated, and name the next key after that"
                ))
            }
            Self::Store { .. }
            | Self::Seal { .. }
            | Self::FirstKey { .. }
            | Self::OtherKey { .. }
            | Self::SharedKey { .. }
            | Self::Random { .. }
            | Self::TakeUp { .. } => None,
        }
    }
}
