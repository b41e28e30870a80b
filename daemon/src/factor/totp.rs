//! TOTP as every authenticator app knows it: SHA-1, 6 digits, 30 s, one step of grace.
//!
//! In: a seed, a code as typed, the time. Out: the step that the code is of. Spec: RFC 6238. Comparing is constant-time
//! in `totp-rs`; using a step up is `store`'s.

use elevate_protocol::name::Name;
use elevate_protocol::secret::Secret;
use elevate_protocol::time::Timestamp;
use totp_rs::{Builder, Totp};
use zeroize::Zeroizing;

use super::{FactorError, SealKey};

/// 160 bits, as RFC 4226 §4 recommends.
const SEED_BYTES: usize = 20;
/// Seconds.
const STEP: i64 = 30;
const ISSUER: &str = "Elevate";

/// A code with what people type between digits taken away.
pub(crate) struct Code(Zeroizing<String>);

impl Code {
    /// Spaces and dashes go; everything else stays and may be wrong.
    #[must_use]
    pub(crate) fn typed(text: &Secret) -> Self {
        let mut kept = Zeroizing::new(String::with_capacity(text.expose().len()));
        kept.extend(text.expose().chars().filter(|c| !c.is_whitespace() && *c != '-'));
        Self(kept)
    }
}

fn totp(seed: &[u8]) -> Result<Totp, FactorError> {
    Ok(Builder::new().with_secret(seed.to_vec()).build()?)
}

/// The step that the code is of, when it is of this one, the one before or the one after.
pub(super) fn step_of(seed: &[u8], code: &Code, now: Timestamp) -> Result<Option<u64>, FactorError> {
    let Ok(seconds) = u64::try_from(now.0) else { return Ok(None) };
    Ok(totp(seed)?.check(&code.0, seconds))
}

/// The step of a time.
#[must_use]
pub(crate) fn step_at(now: Timestamp) -> u64 {
    u64::try_from(now.0.div_euclid(STEP)).unwrap_or(0)
}

/// A seed that a person is about to enrol. Lives in memory until one code confirms it.
pub(crate) struct NewFactor {
    person: Name,
    seed: Zeroizing<Vec<u8>>,
}

impl NewFactor {
    /// A fresh seed.
    ///
    /// # Errors
    /// [`FactorError::Random`].
    pub(crate) fn fresh(person: Name) -> Result<Self, FactorError> {
        let mut seed = Zeroizing::new(vec![0u8; SEED_BYTES]);
        getrandom::fill(&mut seed)?;
        Ok(Self { person, seed })
    }

    /// The otpauth URI, to be shown once.
    ///
    /// # Errors
    /// [`FactorError::Totp`]; no name of the policy gives one.
    pub(crate) fn uri(&self) -> Result<Secret, FactorError> {
        let built = Builder::new()
            .with_secret(self.seed.to_vec())
            .with_account_name(self.person.as_str())
            .with_issuer(Some(ISSUER))
            .build()?;
        Ok(Secret::new(built.to_url()?))
    }

    /// The step that a first code is of.
    ///
    /// # Errors
    /// [`FactorError::Totp`].
    pub(crate) fn step_of(&self, code: &Code, now: Timestamp) -> Result<Option<u64>, FactorError> {
        step_of(&self.seed, code, now)
    }

    /// The seed, sealed for the store.
    ///
    /// # Errors
    /// As [`SealKey::seal`].
    pub(crate) fn seal(&self, key: &SealKey) -> Result<String, FactorError> {
        key.seal(&self.person, &self.seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Code {
        Code::typed(&Secret::new(text.to_owned()))
    }

    // RFC 6238 appendix B: at 59 s the code of this seed is 94287082, of which six digits are 287082.
    #[test]
    fn a_code_counts_for_its_own_step_and_one_beside_it() {
        let seed = b"12345678901234567890";
        for (now, step) in [(29, None), (30, Some(1)), (59, Some(1)), (89, Some(1)), (90, None)] {
            let first = if now < 30 { Some(1) } else { step };
            assert_eq!(step_of(seed, &typed("287082"), Timestamp(now)).unwrap(), first, "{now}");
        }
        for text in ["287 082", " 287-082\n", "2 8 7 0 8 2"] {
            assert_eq!(step_of(seed, &typed(text), Timestamp(59)).unwrap(), Some(1), "{text:?}");
        }
        for text in ["287083", "", "28708", "2870821", "+87082", "２８７０８２", "abcdef"] {
            assert_eq!(step_of(seed, &typed(text), Timestamp(59)).unwrap(), None, "{text:?}");
        }
        assert_eq!(step_of(seed, &typed("287082"), Timestamp(-1)).unwrap(), None);
    }

    #[test]
    fn a_uri_holds_what_apps_need() {
        let factor = NewFactor::fresh("alice".parse().unwrap()).unwrap();
        let uri = factor.uri().unwrap();
        let start = "otpauth://totp/Elevate:alice?secret=";
        assert!(uri.expose().starts_with(start) && uri.expose().ends_with("&issuer=Elevate"));
        assert_eq!(uri.expose().len(), start.len() + 32 + "&issuer=Elevate".len());
    }
}
