//! Ids: 128 random bits each, written as 26 letters of Crockford base32.
//!
//! In: random bytes, or text from a message or a person. Out: typed ids and prefixes. Spec: docs/wire.md "Ids".
//! File names, principals and cgroup names are made of these, never of text that somebody chose.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Crockford's alphabet: no I, L, O, U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Letters of a full id.
pub const ID_LETTERS: usize = 26;

/// Fewest letters by which a person may name an id.
pub const PREFIX_MIN: usize = 4;

/// Why some text is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not 26 letters.
    #[error("an id has {ID_LETTERS} letters, this has {found}")]
    Length {
        /// Letters found.
        found: usize,
    },
    /// A character outside the alphabet.
    #[error("{letter:?} is not a letter of an id")]
    Letter {
        /// The character.
        letter: char,
    },
    /// More than 128 bits.
    #[error("the first letter of an id is 0 to 7")]
    TooLarge,
    /// A prefix that is too short to name anything.
    #[error("write at least {PREFIX_MIN} letters of the id")]
    PrefixTooShort,
}

fn encode(bits: u128) -> String {
    let mut letters = String::with_capacity(ID_LETTERS);
    for position in (0..ID_LETTERS).rev() {
        let shift = u32::try_from(position.saturating_mul(5)).unwrap_or(0);
        let five = usize::try_from((bits >> shift) & 31).unwrap_or(0);
        letters.push(ALPHABET.get(five).copied().map_or('0', char::from));
    }
    letters
}

fn decode(text: &str) -> Result<u128, IdError> {
    let found = text.chars().count();
    if found != ID_LETTERS {
        return Err(IdError::Length { found });
    }
    let mut bits: u128 = 0;
    for (index, letter) in text.chars().enumerate() {
        let value =
            ALPHABET.iter().position(|a| char::from(*a) == letter).ok_or(IdError::Letter { letter })?;
        if index == 0 && value > 7 {
            return Err(IdError::TooLarge);
        }
        bits = (bits << 5) | u128::try_from(value).unwrap_or(0);
    }
    Ok(bits)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(u128);

        impl $name {
            /// An id of 16 bytes from the operating system's random source.
            #[must_use]
            pub fn from_random(bytes: [u8; 16]) -> Self {
                Self(u128::from_be_bytes(bytes))
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            /// The canonical form only: 26 upper-case letters.
            fn from_str(text: &str) -> Result<Self, IdError> {
                decode(text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                encode(id.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), encode(self.0))
            }
        }
    };
}

id!(
    /// One activation: as `R-…` while it is a request, as `G-…` once it is a grant; the letters are the same.
    ActivationId
);
id!(
    /// A host, made at its enrolment. A host's name is a label; this is what it is.
    HostId
);
id!(
    /// A cluster: one daemon's database and keys, made by `elevated init`.
    ClusterId
);
id!(
    /// A number used once: of a connection's hello, of a challenge.
    Nonce
);

/// What a person types for an activation: `R-7K2M`, `g-7k2m9`, `7K2M`; at least [`PREFIX_MIN`] letters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IdPrefix(String);

impl IdPrefix {
    /// The letters in canonical form, without `R-` or `G-`.
    #[must_use]
    pub fn letters(&self) -> &str {
        &self.0
    }

    /// Whether this prefix names `id`.
    #[must_use]
    pub fn names(&self, id: ActivationId) -> bool {
        encode(id.0).starts_with(&self.0)
    }

    /// Whether `text` has the form that only ids have: `R-` or `G-` and letters.
    #[must_use]
    pub fn looks_like(text: &str) -> bool {
        let marked = ["R-", "G-", "r-", "g-"].iter().any(|mark| text.starts_with(mark));
        marked && text.parse::<Self>().is_ok()
    }
}

impl FromStr for IdPrefix {
    type Err = IdError;
    /// Reads what people write: either case, I and L as 1, O as 0, an optional `R-` or `G-` before it.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let upper = text.trim().to_ascii_uppercase();
        let bare = upper.strip_prefix("R-").or_else(|| upper.strip_prefix("G-")).unwrap_or(&upper);
        let mut letters = String::with_capacity(bare.len());
        for letter in bare.chars() {
            let canonical = match letter {
                'I' | 'L' => '1',
                'O' => '0',
                other => other,
            };
            if !ALPHABET.iter().any(|a| char::from(*a) == canonical) {
                return Err(IdError::Letter { letter });
            }
            letters.push(canonical);
        }
        if letters.len() < PREFIX_MIN {
            return Err(IdError::PrefixTooShort);
        }
        if letters.len() > ID_LETTERS {
            return Err(IdError::Length { found: letters.len() });
        }
        Ok(Self(letters))
    }
}

impl TryFrom<String> for IdPrefix {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<IdPrefix> for String {
    fn from(prefix: IdPrefix) -> Self {
        prefix.0
    }
}

impl From<ActivationId> for IdPrefix {
    fn from(id: ActivationId) -> Self {
        Self(id.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_what_they_write() {
        for bits in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef] {
            let id = ActivationId(bits);
            assert_eq!(id.to_string().parse::<ActivationId>(), Ok(id));
        }
    }

    #[test]
    fn only_the_canonical_form_of_an_id_is_read() {
        let id = ActivationId(u128::MAX).to_string();
        assert_eq!(id, "7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
        assert_eq!(id.to_lowercase().parse::<ActivationId>(), Err(IdError::Letter { letter: 'z' }));
        assert_eq!("8ZZZZZZZZZZZZZZZZZZZZZZZZZ".parse::<ActivationId>(), Err(IdError::TooLarge));
        assert_eq!("7Z".parse::<ActivationId>(), Err(IdError::Length { found: 2 }));
        assert_eq!(
            "../../etc/passwd0000000000".parse::<ActivationId>(),
            Err(IdError::Letter { letter: '.' })
        );
    }

    #[test]
    fn prefixes_are_read_as_people_write_them() {
        let id: ActivationId = "01AB0000000000000000000000".parse().unwrap();
        for text in ["R-01AB", "g-olab", "oIaB", "01AB0"] {
            assert!(text.parse::<IdPrefix>().unwrap().names(id), "{text}");
        }
        assert_eq!("R-01A".parse::<IdPrefix>(), Err(IdError::PrefixTooShort));
        assert_eq!("R-01A!".parse::<IdPrefix>(), Err(IdError::Letter { letter: '!' }));
        assert!(IdPrefix::looks_like("R-01AB") && !IdPrefix::looks_like("web-ops"));
    }
}
