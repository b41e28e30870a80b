//! Paste strings: what an administrator hands to a host's root or to a person, on one line.
//!
//! `elevate1,KIND,ADDRESS,SHA256:FINGERPRINT,TOKEN,CHECK`. In: text from standard input or a file. Out: the parts,
//! or what is wrong with the text. Spec: docs/wire.md "Paste strings".

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;
use crate::id::{ID_LETTERS, Nonce};
use crate::secret::Secret;

/// Longest paste string in bytes.
const PASTE_MAX: usize = 512;
/// Hex letters of the check.
const CHECK_LETTERS: usize = 8;

/// What a paste string is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasteKind {
    /// Enrols a host: `elevate-agent enroll`.
    Host,
    /// Invites a person to enrol a factor: `elevate login`, then `elevate mfa add`.
    Person,
    /// Only says where the daemon is: `elevate login`.
    Daemon,
}

/// A paste string, taken apart. Every kind but [`PasteKind::Daemon`] carries a one-time token.
#[derive(Debug, Clone)]
pub struct Paste {
    /// What for.
    pub kind: PasteKind,
    /// `NAME:PORT` of the daemon; IPv6 in brackets.
    pub address: String,
    /// The daemon's host key, as `SHA256:` and 43 letters of base64.
    pub fingerprint: String,
    /// The one-time enrolment token, 26 letters.
    pub token: Option<Secret>,
}

/// Why some text is no paste string.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PasteError {
    /// Not in the form at all.
    #[error("this is no paste string; it starts with elevate1, and has six parts on one line")]
    Form,
    /// Cut or changed on the way.
    #[error(
        "the paste string was cut or changed on the way (its check does not fit); copy the whole line again"
    )]
    Check,
    /// Another version or kind.
    #[error("this program does not know paste strings of the kind {kind:?}")]
    Kind {
        /// The kind as written.
        kind: String,
    },
    /// A part that is not what it should be.
    #[error("the {part} in the paste string is not valid")]
    Part {
        /// Which.
        part: &'static str,
    },
}

impl PasteKind {
    fn word(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Person => "person",
            Self::Daemon => "daemon",
        }
    }
}

fn check_of(text: &str) -> String {
    Digest::of(text.as_bytes()).to_string().chars().skip("sha256:".len()).take(CHECK_LETTERS).collect()
}

/// Whether `text` is `NAME:PORT` with a name that is safe to show and to resolve.
#[must_use]
pub fn is_address(text: &str) -> bool {
    let Some((name, port)) = text.rsplit_once(':') else { return false };
    let bare = name.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    let name_fits = match bare {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !name.is_empty() && name.len() <= 253 && !name.starts_with('-') && name.chars().all(letters),
    };
    name_fits && port.parse::<u16>().is_ok_and(|port| port != 0)
}

/// Whether `text` has the form of an OpenSSH SHA-256 fingerprint.
#[must_use]
pub fn is_fingerprint(text: &str) -> bool {
    text.parse::<ssh_key::Fingerprint>().is_ok_and(|parsed| parsed.is_sha256() && parsed.to_string() == text)
}

impl Paste {
    /// The line to hand out. It holds the token: show it once, to the person who asked for it.
    #[must_use]
    pub fn to_line(&self) -> Secret {
        let token = self.token.as_ref().map_or("-", Secret::expose);
        let text = format!("elevate1,{},{},{},{token}", self.kind.word(), self.address, self.fingerprint);
        let check = check_of(&text);
        Secret::new(format!("{text},{check}"))
    }
}

impl FromStr for Paste {
    type Err = PasteError;
    fn from_str(line: &str) -> Result<Self, PasteError> {
        let line = line.trim();
        if line.len() > PASTE_MAX || !line.starts_with("elevate1,") {
            return Err(PasteError::Form);
        }
        let (text, check) = line.rsplit_once(',').ok_or(PasteError::Form)?;
        if check != check_of(text) {
            return Err(PasteError::Check);
        }
        let parts: Vec<&str> = text.split(',').collect();
        let [_, kind, address, fingerprint, token] = parts.as_slice() else { return Err(PasteError::Form) };
        let kind = match *kind {
            "host" => PasteKind::Host,
            "person" => PasteKind::Person,
            "daemon" => PasteKind::Daemon,
            other => return Err(PasteError::Kind { kind: crate::text::escape(other) }),
        };
        if !is_address(address) {
            return Err(PasteError::Part { part: "address" });
        }
        if !is_fingerprint(fingerprint) {
            return Err(PasteError::Part { part: "key fingerprint" });
        }
        let token = match (kind, *token) {
            (PasteKind::Daemon, "-") => None,
            (PasteKind::Host | PasteKind::Person, text)
                if text.len() == ID_LETTERS && text.parse::<Nonce>().is_ok() =>
            {
                Some(Secret::new(text.to_owned()))
            }
            _ => return Err(PasteError::Part { part: "token" }),
        };
        Ok(Self { kind, address: (*address).to_owned(), fingerprint: (*fingerprint).to_owned(), token })
    }
}

impl fmt::Display for PasteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paste() -> Paste {
        Paste {
            kind: PasteKind::Host,
            address: "daemon.example:7022".into(),
            fingerprint: "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU".into(),
            token: Some(Secret::new("01AB0000000000000000000000".into())),
        }
    }

    #[test]
    fn h02_a_paste_string_cut_or_changed_anywhere_is_refused() {
        let line = paste().to_line().expose().to_owned();
        let read: Paste = format!("  {line}\n").parse().unwrap();
        assert_eq!((read.kind, read.address.as_str()), (PasteKind::Host, "daemon.example:7022"));
        assert_eq!(read.token.unwrap().expose(), "01AB0000000000000000000000");
        for cut in 0..line.len() {
            assert!(line[..cut].parse::<Paste>().is_err(), "{cut}");
            let mut changed = line.clone().into_bytes();
            changed[cut] ^= 1;
            assert!(String::from_utf8(changed).unwrap().parse::<Paste>().is_err(), "{cut}");
        }
    }

    #[test]
    fn a_paste_string_with_a_right_check_and_wrong_parts_is_refused() {
        let bad = |change: fn(&mut Paste)| {
            let mut changed = paste();
            change(&mut changed);
            changed.to_line().expose().parse::<Paste>().unwrap_err()
        };
        assert_eq!(bad(|p| p.address = "-oProxyCommand=x:22".into()), PasteError::Part { part: "address" });
        assert_eq!(bad(|p| p.address = "host:0".into()), PasteError::Part { part: "address" });
        assert_eq!(bad(|p| p.fingerprint = "MD5:00".into()), PasteError::Part { part: "key fingerprint" });
        assert_eq!(bad(|p| p.token = None), PasteError::Part { part: "token" });
        assert_eq!(bad(|p| p.kind = PasteKind::Daemon), PasteError::Part { part: "token" });
        assert!(
            is_address("[::1]:7022")
                && is_address("10.0.0.1:22")
                && !is_address("[x]:7022")
                && !is_address("host")
        );
    }
}
