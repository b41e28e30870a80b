//! Names from the policy (strict), logins from a host's NSS (opaque), and what people call a host.
//!
//! In: text. Out: [`Name`], which may be rendered, [`Login`], which never is, and [`HostWord`], which stands in no document. Spec: docs/wire.md "Names".

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::host_ssh::{HostName, HostSshError};

/// Longest name, in bytes.
pub const NAME_MAX: usize = 32;
/// Longest login, in bytes (as LOGIN_NAME_MAX of Linux, without the NUL).
pub const LOGIN_MAX: usize = 255;

/// Why some text is no name or login.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing there.
    #[error("a name is not empty")]
    Empty,
    /// Longer than allowed.
    #[error("{found} bytes are too long, at most {most}")]
    TooLong {
        /// Bytes found.
        found: usize,
        /// Bytes allowed.
        most: usize,
    },
    /// A first character that names do not start with.
    #[error("a name starts with a to z or _, not with {letter:?}")]
    First {
        /// The character.
        letter: char,
    },
    /// A character that names do not have.
    #[error("a name is made of a-z, 0-9, _, . and -, not of {letter:?}")]
    Letter {
        /// The character.
        letter: char,
    },
    /// A control character or NUL in a login.
    #[error("a login has no control characters")]
    Control,
}

macro_rules! text_type {
    ($name:ident) => {
        impl $name {
            /// The text itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl TryFrom<String> for $name {
            type Error = <Self as FromStr>::Err;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }
    };
}

/// A name in the policy: person, role, group, run-as account, label. `[a-z_][a-z0-9_.-]{0,31}`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);
text_type!(Name);

impl FromStr for Name {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let first = text.chars().next().ok_or(NameError::Empty)?;
        if !(first.is_ascii_lowercase() || first == '_') {
            return Err(NameError::First { letter: first });
        }
        if let Some(letter) = text
            .chars()
            .find(|c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.' | '-')))
        {
            return Err(NameError::Letter { letter });
        }
        if text.len() > NAME_MAX {
            return Err(NameError::TooLong { found: text.len(), most: NAME_MAX });
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What NSS calls an account: opaque, `alice@corp.example` too. Compared, stored, shown through
/// [`crate::text::UntrustedText`]; never rendered into a sudoers file, a path or a command line.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Login(String);
text_type!(Login);

impl FromStr for Login {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > LOGIN_MAX {
            return Err(NameError::TooLong { found: text.len(), most: LOGIN_MAX });
        }
        // A colon or a line end would forge another entry of a passwd-like table.
        if text.chars().any(|c| c.is_control() || c == ':' || c == '/') {
            return Err(NameError::Control);
        }
        Ok(Self(text.to_owned()))
    }
}

/// A host as somebody types it: its managed name, or a name or address that an administrator gave it. Which host that is only the daemon says.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostWord(String);
text_type!(HostWord);

impl FromStr for HostWord {
    type Err = HostSshError;
    fn from_str(text: &str) -> Result<Self, HostSshError> {
        match text.parse::<Name>() {
            Ok(name) => Ok(name.into()),
            Err(_) => text.parse().map(|name: HostName| Self(name.into())),
        }
    }
}

impl From<Name> for HostWord {
    fn from(name: Name) -> Self {
        Self(name.0)
    }
}

impl fmt::Display for HostWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PartialEq<Name> for HostWord {
    fn eq(&self, name: &Name) -> bool {
        self.0 == name.0
    }
}

impl From<Name> for Login {
    fn from(name: Name) -> Self {
        Self(name.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_called_by_a_managed_name_a_name_of_dns_or_an_address_and_nothing_that_is_an_option() {
        for good in ["db1", "_x", "web-.x", "db1.example.org", "0db.example.org", "10.0.0.5", "fe80::1"] {
            assert_eq!(good.parse::<HostWord>().map(String::from).as_deref(), Ok(good));
        }
        for bad in
            ["", "-x", "-oProxyCommand=id", "a b", "db1:22", "*.example.org", "DB1", "10.0.0.05", "1.2"]
        {
            assert!(bad.parse::<HostWord>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a01_names_that_are_sudoers_syntax_are_refused() {
        for text in
            ["ALL", "#0", "%sudo", "+ng", "alice,all", "\"x\"", "a\\ b", "..", "é", "-x", "a b", "a\nb", ""]
        {
            assert!(text.parse::<Name>().is_err(), "{text:?}");
        }
        assert_eq!("a".repeat(33).parse::<Name>(), Err(NameError::TooLong { found: 33, most: 32 }));
        for text in ["alice", "web-ops", "_x", "first.last", "a1"] {
            assert_eq!(text.parse::<Name>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn logins_are_what_nss_says_but_never_two_lines() {
        assert!("alice@corp.example".parse::<Login>().is_ok());
        for text in ["a\nb", "a:0:0", "a/../b", "", "\u{85}"] {
            assert!(text.parse::<Login>().is_err(), "{text:?}");
        }
    }
}
