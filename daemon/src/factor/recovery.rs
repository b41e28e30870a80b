//! Recovery codes: ten of 60 random bits, each for one use, for whoever lost the phone. Kept as argon2id only.
//!
//! In: a person's code as typed. Out: [`Checked`], as for any factor: counted before it is compared, and with the same limits.
//! Hashing is done one at a time, away from the store: whoever guesses waits, nobody else does (threat D11).

use std::sync::Arc;
use std::time::Duration;

use argon2::{Algorithm, Argon2, Params, Version};
use elevate_audit::{Kind, Subject};
use elevate_protocol::name::Name;
use elevate_protocol::secret::Secret;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Timestamp;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::FactorError;
use super::check::Checked;
use super::limits::{closed_until, one_more};
use crate::store::{FailureRow, RecoverySet, Store, Voice};

/// Codes in a set.
const CODES: usize = 10;
/// Letters of a code, of five bits each.
const LETTERS: usize = 12;
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// What OWASP's cheat sheet for stored passwords asks of argon2id at least: 19 MiB, two passes, one lane. Passwords need it to
/// be slow; these codes have 60 random bits, and a copy of the database is no use even at a billion guesses a second.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const HASH: usize = 32;
/// Longest wait for the one place there is for hashing.
const PATIENCE: Duration = Duration::from_secs(5);

/// A code that has the form of a recovery code, with what people type between letters taken away.
pub(crate) struct RecoveryCode(Zeroizing<String>);

impl RecoveryCode {
    /// None: it is something else. Crockford: either case, `I` and `L` for 1, `O` for 0.
    pub(crate) fn typed(text: &Secret) -> Option<Self> {
        let mut kept = Zeroizing::new(String::with_capacity(text.expose().len()));
        for c in text.expose().chars().filter(|c| !c.is_whitespace() && *c != '-') {
            kept.push(match c.to_ascii_uppercase() {
                'I' | 'L' => '1',
                'O' => '0',
                other => other,
            });
        }
        let fits = kept.len() == LETTERS && kept.bytes().all(|byte| ALPHABET.contains(&byte));
        fits.then_some(Self(kept))
    }

    fn random() -> Result<Self, FactorError> {
        let mut bytes = Zeroizing::new([0u8; LETTERS]);
        getrandom::fill(bytes.as_mut_slice())?;
        let letter = |byte: &u8| ALPHABET.get(usize::from(byte % 32)).copied().map_or('0', char::from);
        Ok(Self(Zeroizing::new(bytes.iter().map(letter).collect())))
    }

    /// `K7M2-9QX4-HT5D`.
    fn shown(&self) -> Secret {
        let mut text = String::with_capacity(LETTERS.saturating_add(2));
        for (place, letter) in self.0.chars().enumerate() {
            if place > 0 && place.is_multiple_of(4) {
                text.push('-');
            }
            text.push(letter);
        }
        Secret::new(text)
    }
}

/// Where codes are hashed: one at a time.
#[derive(Clone)]
pub(crate) struct Hasher(Arc<Semaphore>);

impl Default for Hasher {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

fn hash(salt: &[u8], code: &RecoveryCode) -> Result<Zeroizing<[u8; HASH]>, FactorError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(HASH)).map_err(|_| FactorError::Hash)?;
    let mut out = Zeroizing::new([0u8; HASH]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(code.0.as_bytes(), salt, out.as_mut_slice())
        .map_err(|_| FactorError::Hash)?;
    Ok(out)
}

/// A fresh set: what is shown once, and what is kept.
///
/// # Errors
/// A [`FactorError`]; [`FactorError::Busy`] when others are hashing.
pub(crate) async fn fresh(hasher: &Hasher) -> Result<(Vec<Secret>, RecoverySet), FactorError> {
    let place = tokio::time::timeout(PATIENCE, Arc::clone(&hasher.0).acquire_owned());
    let place = place.await.ok().and_then(Result::ok).ok_or(FactorError::Busy)?;
    let made = tokio::task::spawn_blocking(move || {
        let _place = place;
        let mut salt = [0u8; 16];
        getrandom::fill(&mut salt)?;
        let (mut shown, mut hashes) = (Vec::new(), Vec::new());
        for _ in 0..CODES {
            let code = RecoveryCode::random()?;
            hashes.push(hex(hash(&salt, &code)?.as_slice()));
            shown.push(code.shown());
        }
        Ok::<_, FactorError>((shown, RecoverySet { salt: hex(&salt), hashes }))
    });
    made.await.map_err(|_| FactorError::Hash)?
}

/// One code of one person at one door.
pub(crate) struct RecoveryAttempt<'a> {
    pub(crate) person: &'a Name,
    pub(crate) door: &'a str,
    pub(crate) code: RecoveryCode,
    pub(crate) purpose: &'a str,
    pub(crate) subject: &'a Subject,
}

/// Looks at one code and uses it up; says how many are left.
///
/// # Errors
/// A [`FactorError`] when it could not be looked at.
pub(crate) async fn check(
    store: &Store,
    hasher: &Hasher,
    voice: &Voice,
    attempt: RecoveryAttempt<'_>,
) -> Result<(Checked, Timestamp), FactorError> {
    let place = tokio::time::timeout(PATIENCE, Arc::clone(&hasher.0).acquire_owned());
    let place = place.await.ok().and_then(Result::ok).ok_or(FactorError::Busy)?;
    let RecoveryAttempt { person, door, code, purpose, subject } = attempt;
    let mut tx = store.write().await?;
    let now = tx.now();
    let Some(set) = tx.recovery_set(person).await? else { return Ok((Checked::NoFactor, now)) };
    let failures = tx.failures(person).await?;
    if let Some((until, locked)) = closed_until(&failures, door, now) {
        return Ok((Checked::Closed { until, locked }, now));
    }
    // Counted before it is compared, and durable: the comparison takes a while.
    let (rows, locked) = one_more(&failures, door, now);
    for row in &rows {
        tx.set_failures(person, row).await?;
    }
    tx.commit().await?;
    let salt = unhex(&set.salt).ok_or(FactorError::Hash)?;
    let hashed = tokio::task::spawn_blocking(move || {
        let _place = place;
        hash(&salt, &code)
    });
    let hashed = hashed.await.map_err(|_| FactorError::Hash)??;
    let own = hex(hashed.as_slice());
    // All are compared, so that the time says nothing of which.
    let fits = set.hashes.iter().fold(None, |found, kept| {
        if bool::from(kept.as_bytes().ct_eq(own.as_bytes())) { Some(kept) } else { found }
    });
    let mut tx = store.write().await?;
    let now = tx.now();
    let purpose = UntrustedText::lossy(purpose);
    let checked = match fits {
        // A set that was made anew meanwhile has no such code.
        Some(kept) if tx.burn_recovery(person, kept).await? => {
            for row in rows {
                let zero = FailureRow { count: 0, next_at: Timestamp(0), locked_until: Timestamp(0), ..row };
                tx.set_failures(person, &zero).await?;
            }
            let left = tx.recovery_set(person).await?.map_or(0, |set| set.hashes.len());
            let left = u32::try_from(left).unwrap_or(u32::MAX);
            tx.record(voice.did(subject.clone(), Kind::RecoveryUsed { purpose, left })).await?;
            Checked::Accepted
        }
        Some(_) | None => {
            let next_at =
                rows.iter().map(|row| row.next_at.max(row.locked_until)).max().filter(|at| *at > now);
            let failures = rows.first().map_or(0, |row| row.count);
            tx.record(voice.did(subject.clone(), Kind::FactorRejected { purpose, failures, next_at }))
                .await?;
            if let Some((scope, until)) = locked {
                tx.record(voice.did(subject.clone(), Kind::FactorLocked { scope, until })).await?;
            }
            Checked::Rejected { next_at }
        }
    };
    tx.commit().await?;
    Ok((checked, now))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    super::seal::from_hex(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Option<String> {
        RecoveryCode::typed(&Secret::new(text.to_owned())).map(|code| code.0.to_string())
    }

    #[test]
    fn what_people_type_is_one_code_and_everything_else_is_none() {
        for text in ["K7M2-9QX4-HT1D", "k7m2 9qx4 htld", " K7M29QX4HTID\n"] {
            assert_eq!(typed(text).as_deref(), Some("K7M29QX4HT1D"), "{text:?}");
        }
        for text in ["", "492039", "K7M2-9QX4-HT1", "K7M2-9QX4-HT1DX", "K7M2-9QX4-HTUD", "Ｋ7M2-9QX4-HT1D"] {
            assert_eq!(typed(text), None, "{text:?}");
        }
    }

    #[tokio::test]
    async fn d11_a_set_is_ten_different_codes_of_which_only_slow_hashes_are_kept() {
        let (shown, kept) = fresh(&Hasher::default()).await.unwrap();
        let mut codes: Vec<&str> = shown.iter().map(Secret::expose).collect();
        assert!(codes.iter().all(|code| code.len() == 14 && code.split('-').all(|part| part.len() == 4)));
        let salt = unhex(&kept.salt).unwrap();
        let first = hash(&salt, &RecoveryCode::typed(&shown[0]).unwrap()).unwrap();
        assert_eq!(hex(first.as_slice()), kept.hashes[0]);
        codes.sort_unstable();
        codes.dedup();
        assert_eq!((codes.len(), kept.hashes.len(), salt.len()), (CODES, CODES, 16));
    }
}
