//! Seals seeds for the database with a key that is not in it (threat D12).
//!
//! In: a seed and whose it is. Out: hex of nonce and ChaCha20-Poly1305 box, with the person as associated data, so that
//! one person's box opens for nobody else.

use elevate_protocol::name::Name;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::FactorError;

/// The seal key, ready for use.
pub(crate) struct SealKey(LessSafeKey);

impl SealKey {
    /// From 32 random bytes.
    ///
    /// # Errors
    /// [`FactorError::Cipher`] for no 32 bytes.
    pub(crate) fn new(bytes: &Zeroizing<[u8; 32]>) -> Result<Self, FactorError> {
        let key = UnboundKey::new(&CHACHA20_POLY1305, bytes.as_slice()).map_err(|_| FactorError::Cipher)?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// Seals a seed with a fresh nonce: 96 random bits, for at most a few thousand seeds under one key.
    ///
    /// # Errors
    /// [`FactorError::Random`] or [`FactorError::Cipher`].
    pub(crate) fn seal(&self, person: &Name, seed: &[u8]) -> Result<String, FactorError> {
        let mut nonce = [0u8; NONCE_LEN];
        getrandom::fill(&mut nonce)?;
        let mut sealed = seed.to_vec();
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad(person), &mut sealed)
            .map_err(|_| FactorError::Cipher)?;
        Ok(nonce.iter().chain(&sealed).map(|byte| format!("{byte:02x}")).collect())
    }

    /// Opens what [`SealKey::seal`] made for the same person.
    ///
    /// # Errors
    /// [`FactorError::Sealed`] for anything else.
    pub(crate) fn open(&self, person: &Name, sealed: &str) -> Result<Zeroizing<Vec<u8>>, FactorError> {
        let refused = || FactorError::Sealed { person: person.to_string() };
        let bytes = from_hex(sealed).ok_or_else(refused)?;
        let (nonce, boxed) = bytes.split_first_chunk::<NONCE_LEN>().ok_or_else(refused)?;
        let mut opened = Zeroizing::new(boxed.to_vec());
        let length = self
            .0
            .open_in_place(Nonce::assume_unique_for_key(*nonce), aad(person), &mut opened)
            .map_err(|_| refused())?
            .len();
        opened.truncate(length);
        Ok(opened)
    }
}

fn aad(person: &Name) -> Aad<Vec<u8>> {
    Aad::from(format!("elevate-totp@v1 {person}").into_bytes())
}

pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d12_a_sealed_seed_opens_for_its_person_and_key_only() {
        let key = SealKey::new(&Zeroizing::new([7; 32])).unwrap();
        let other = SealKey::new(&Zeroizing::new([8; 32])).unwrap();
        let (alice, bob): (Name, Name) = ("alice".parse().unwrap(), "bob".parse().unwrap());
        let seed = b"12345678901234567890";
        let sealed = key.seal(&alice, seed).unwrap();
        assert_eq!(key.open(&alice, &sealed).unwrap().as_slice(), seed);
        assert_ne!(sealed, key.seal(&alice, seed).unwrap());
        assert!(!from_hex(&sealed).unwrap().windows(8).any(|part| seed.windows(8).any(|own| own == part)));
        assert!(matches!(key.open(&bob, &sealed), Err(FactorError::Sealed { .. })));
        assert!(matches!(other.open(&alice, &sealed), Err(FactorError::Sealed { .. })));
        let mut changed = sealed.clone();
        let last = if changed.pop() == Some('0') { '1' } else { '0' };
        changed.push(last);
        for bad in ["", "zz", "00", &sealed[..40], changed.as_str()] {
            assert!(matches!(key.open(&alice, bad), Err(FactorError::Sealed { .. })), "{bad}");
        }
    }
}
