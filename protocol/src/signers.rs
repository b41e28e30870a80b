//! The keys that may sign documents, as a host pins them, and until when and up to which document each may.
//!
//! In: a signers file, which is a subset of ssh-keygen(1) "ALLOWED SIGNERS". Out: [`TrustedKeys`]. Never certificates, and only
//! key types that are pinned with the key. Spec: docs/grant-format.md "Signers".

use ssh_key::public::KeyData;
use ssh_key::{Algorithm, EcdsaCurve, PublicKey};

use crate::date;
use crate::document::{Keys, SigningKey};
use crate::signed::{GRANT_NAMESPACE, GRANT_PRINCIPAL, VerifyError};
use crate::time::Timestamp;

/// Most keys in a signers file.
pub const SIGNERS_MAX: usize = 16;
/// What stands before a key.
const NAMESPACES: &str = "namespaces=\"";
const BEFORE: &str = ",valid-before=\"";
const LAST: &str = " last=";

/// Up to where a key that was replaced is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Last {
    /// First second at which nothing that it signed is believed.
    pub until: Timestamp,
    /// Epoch and place of the last document that it may have signed for this host.
    pub place: (u32, u64),
}

/// One key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKey {
    key: PublicKey,
    last: Option<Last>,
}

impl TrustedKey {
    /// A key of a type that signs here, without a comment.
    ///
    /// # Errors
    /// [`VerifyError::KeyType`] for anything but Ed25519 and ECDSA P-256.
    pub fn new(key: &PublicKey, last: Option<Last>) -> Result<Self, VerifyError> {
        Self::of(key.key_data().clone(), last)
    }

    fn of(key: KeyData, last: Option<Last>) -> Result<Self, VerifyError> {
        let key = PublicKey::new(key, "");
        let known =
            matches!(key.algorithm(), Algorithm::Ed25519 | Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 });
        if known { Ok(Self { key, last }) } else { Err(VerifyError::KeyType) }
    }

    /// The key itself.
    #[must_use]
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Where it ends, once it was replaced.
    #[must_use]
    pub fn last(&self) -> Option<Last> {
        self.last
    }

    /// Whether a document of this place may be by this key.
    pub(crate) fn covers(&self, place: (u32, u64)) -> bool {
        self.last.is_none_or(|last| place <= last.place)
    }

    fn to_line(&self) -> Result<String, VerifyError> {
        let line = self.to_signers_line(self.last.map(|last| last.until))?;
        Ok(match self.last {
            None => line,
            Some(Last { place: (epoch, seq), .. }) => format!("{}{LAST}{epoch}/{seq}\n", line.trim_end()),
        })
    }

    /// A line for `ssh-keygen -Y verify -f`, for every host; with an end, `-O verify-time=` asks about a time before it.
    ///
    /// # Errors
    /// [`VerifyError::KeyType`] when the end is no date that can be written.
    pub fn to_signers_line(&self, until: Option<Timestamp>) -> Result<String, VerifyError> {
        let key = self.key.to_openssh().map_err(|_| VerifyError::KeyType)?;
        let before = match until.map(date::write).transpose().map_err(|_| VerifyError::KeyType)? {
            None => String::new(),
            Some(until) => format!("{BEFORE}{until}\""),
        };
        Ok(format!("{GRANT_PRINCIPAL} {NAMESPACES}{GRANT_NAMESPACE}\"{before} {key}\n"))
    }

    /// The form of [`TrustedKey::to_line`] and no other.
    fn from_line(line: &str) -> Option<Self> {
        let head = format!("{GRANT_PRINCIPAL} {NAMESPACES}{GRANT_NAMESPACE}\"");
        let (options, key) = line.strip_prefix(&head)?.split_once(' ')?;
        let (key, last) = match key.split_once(LAST) {
            None => (key, None),
            Some((key, place)) => {
                let (epoch, seq) = place.split_once('/')?;
                let until = date::read(options.strip_prefix(BEFORE)?.strip_suffix('"')?)?;
                (key, Some(Last { place: (epoch.parse().ok()?, seq.parse().ok()?), until }))
            }
        };
        let read = Self::new(&PublicKey::from_openssh(key).ok()?, last).ok()?;
        (read.to_line().ok()?.trim_end_matches('\n') == line).then_some(read)
    }
}

/// The keys that may sign, pinned with their types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKeys(Vec<TrustedKey>);

impl TrustedKeys {
    /// One key.
    ///
    /// # Errors
    /// [`VerifyError::KeyType`] for a type that signs nothing here.
    pub fn one(key: PublicKey) -> Result<Self, VerifyError> {
        Ok(Self(vec![TrustedKey::of(KeyData::from(key), None)?]))
    }

    /// Several; exactly one of them without an end, and no key twice.
    ///
    /// # Errors
    /// [`VerifyError::Signers`] for another list.
    pub fn new(keys: Vec<TrustedKey>) -> Result<Self, VerifyError> {
        let line = keys.len().saturating_add(1);
        let current = keys.iter().filter(|one| one.last.is_none()).count();
        let twice = |(index, one): (usize, &TrustedKey)| {
            keys.iter().skip(index.saturating_add(1)).any(|other| other.key == one.key)
        };
        if current != 1 || keys.len() > SIGNERS_MAX || keys.iter().enumerate().any(twice) {
            return Err(VerifyError::Signers { line });
        }
        Ok(Self(keys))
    }

    /// What a document about keys makes of these: a key that it ends and that had no end yet ends with that document.
    ///
    /// # Errors
    /// [`VerifyError::KeyType`], or [`VerifyError::Signers`] for a list that is no set of keys; the old set then stays.
    pub fn follow(&self, keys: &Keys, place: (u32, u64)) -> Result<Self, VerifyError> {
        let mut next = Vec::new();
        for SigningKey { key, until } in keys.grant.iter().take(SIGNERS_MAX.saturating_add(1)) {
            let key = PublicKey::from_openssh(key).map_err(|_| VerifyError::KeyType)?;
            let known = self.0.iter().find(|one| one.key.key_data() == key.key_data());
            let ended = known.and_then(|one| one.last).map_or(place, |last| last.place);
            let last = until.map(|until| Last { until, place: ended });
            next.push(TrustedKey::new(&key, last)?);
        }
        Self::new(next)
    }

    /// Each of them.
    #[must_use]
    pub fn keys(&self) -> &[TrustedKey] {
        &self.0
    }

    /// Those that are believed at `now`.
    #[must_use]
    pub fn at(mut self, now: Timestamp) -> Self {
        self.0.retain(|one| one.last.is_none_or(|last| now < last.until));
        self
    }

    /// Reads a signers file in the form of [`TrustedKeys::to_signers`], so that `ssh-keygen -Y verify -f` reads the same file.
    ///
    /// # Errors
    /// [`VerifyError::Signers`] with the line, also for an empty file: nobody to trust is no set of keys.
    pub fn from_signers(text: &str) -> Result<Self, VerifyError> {
        let mut keys = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let at = VerifyError::Signers { line: index.saturating_add(1) };
            keys.push(TrustedKey::from_line(line).ok_or(at)?);
        }
        Self::new(keys)
    }

    /// The signers file, for `ssh-keygen -Y verify -f FILE -I grants -n elevate-grant@v1`.
    ///
    /// # Errors
    /// When an end is no date that can be written.
    pub fn to_signers(&self) -> Result<String, VerifyError> {
        self.0.iter().map(TrustedKey::to_line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ssh_key::PrivateKey;
    use ssh_key::private::Ed25519Keypair;

    fn key(seed: u8) -> PublicKey {
        PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32])).public_key().clone()
    }

    fn replaced(seed: u8) -> TrustedKey {
        let last = Last { until: Timestamp(1_800_000_000), place: (1, 57) };
        TrustedKey::new(&key(seed), Some(last)).unwrap()
    }

    #[test]
    fn a_signers_file_with_a_replaced_key_reads_back_and_ends_at_its_second() {
        let both = TrustedKeys::new(vec![replaced(1), TrustedKey::new(&key(2), None).unwrap()]).unwrap();
        let text = both.to_signers().unwrap();
        let first = text.lines().next().unwrap();
        assert!(first.starts_with(
            "grants namespaces=\"elevate-grant@v1\",valid-before=\"20270115080000Z\" ssh-ed25519 "
        ));
        assert!(first.ends_with(" last=1/57"), "{first}");
        let read = TrustedKeys::from_signers(&text).unwrap();
        assert_eq!(read, both);
        assert_eq!(read.clone().at(Timestamp(1_799_999_999)).keys().len(), 2);
        assert_eq!(read.at(Timestamp(1_800_000_000)).keys().len(), 1);
    }

    #[test]
    fn a_document_about_keys_ends_the_one_before_with_its_own_place() {
        let line = |seed: u8, until: Option<i64>| SigningKey {
            key: key(seed).to_openssh().unwrap(),
            until: until.map(Timestamp),
        };
        let first = TrustedKeys::one(key(1)).unwrap();
        let of = |grant| Keys { grant, user_ca: Default::default(), host_ca: Default::default() };
        let keys = of(vec![line(1, Some(1_800_000_000)), line(2, None)]);
        let second = first.follow(&keys, (1, 57)).unwrap();
        assert_eq!(second.keys()[0], replaced(1));
        assert_eq!(second.follow(&keys, (1, 57)).unwrap(), second, "again after a crash");
        let keys = of(vec![line(1, Some(1_800_000_000)), line(2, Some(1_900_000_000)), line(3, None)]);
        let third = second.follow(&keys, (1, 90)).unwrap();
        let places: Vec<_> = third.keys().iter().map(|one| one.last().map(|last| last.place)).collect();
        assert_eq!(places, [Some((1, 57)), Some((1, 90)), None]);
        assert!(third.keys()[0].covers((1, 57)) && !third.keys()[0].covers((1, 58)));
        for bad in [vec![], vec![line(1, Some(5))], vec![line(1, None), line(2, None)]] {
            assert!(matches!(first.follow(&of(bad), (1, 5)), Err(VerifyError::Signers { .. })));
        }
    }

    #[test]
    fn lines_of_another_form_are_refused_with_their_number() {
        let good = TrustedKeys::new(vec![replaced(1), TrustedKey::new(&key(2), None).unwrap()]).unwrap();
        let good = good.to_signers().unwrap();
        for (from, to) in [
            ("grants ", "grants,others "),
            ("20270115", "20271315"),
            ("last=1/57", "last=1/057"),
            (" last=1/57", ""),
            ("last=1/57", "comment"),
            (",valid-before", ",valid-after"),
            ("namespaces=", "cert-authority,namespaces="),
        ] {
            let text = good.replacen(from, to, 1);
            assert_ne!(text, good);
            assert_eq!(
                TrustedKeys::from_signers(&text).unwrap_err(),
                VerifyError::Signers { line: 1 },
                "{to}"
            );
        }
        for (keys, line) in [(vec![replaced(1)], 2), (vec![], 1)] {
            assert_eq!(TrustedKeys::new(keys).unwrap_err(), VerifyError::Signers { line });
        }
        let twice = vec![replaced(1), TrustedKey::new(&key(1), None).unwrap()];
        assert_eq!(TrustedKeys::new(twice).unwrap_err(), VerifyError::Signers { line: 3 });
    }
}
