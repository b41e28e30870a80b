//! The second factor: TOTP, checked here and nowhere else.
//!
//! In: a person, a door, a code as typed. Out: [`Checked`]. Runs as: `elevated`. Spec: docs/architecture.md "The second factor", RFC 6238.
//! Threats D01, D02, D04, D12: each step once, wrong codes counted, seeds sealed.

mod check;
mod limits;
mod recovery;
mod seal;
mod totp;

use totp_rs::TotpError;

use crate::store::StoreError;

pub(crate) use check::{Attempt, Checked, check};
pub(crate) use limits::{
    CHALLENGE_LIFE, CHALLENGE_TRIES, INVITATION_TRIES, KEY_DOOR, closed_until, locked_until,
};
pub(crate) use recovery::{
    Hasher, RecoveryAttempt, RecoveryCode, check as check_recovery, fresh as fresh_recovery,
};
pub(crate) use seal::SealKey;
pub(crate) use totp::{Code, NewFactor, step_at};

/// Why a factor could not be looked at. Never that a code was wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FactorError {
    /// The store.
    #[error("the store did not do it")]
    Store {
        /// Why.
        #[from]
        source: StoreError,
    },
    /// A sealed seed that does not open: another seal key, another person's row, or damage.
    #[error("the sealed seed of {person} does not open with this seal key")]
    Sealed {
        /// Whose.
        person: String,
    },
    /// No randomness, no factor.
    #[error("the system gives no random bytes")]
    Random {
        /// What it says.
        #[from]
        source: getrandom::Error,
    },
    /// The seed is not usable.
    #[error("the seed is not usable")]
    Totp {
        /// Why.
        #[from]
        source: TotpError,
    },
    /// The cipher refused.
    #[error("the seed cannot be sealed")]
    Cipher,
    /// argon2 refused, or a stored salt is none.
    #[error("a recovery code cannot be hashed")]
    Hash,
    /// Others are hashing.
    #[error("too many recovery codes are looked at")]
    Busy,
}
