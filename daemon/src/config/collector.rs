//! `[[syslog]]`: where events go as RFC 5424.
//!
//! In: the table's text. Out: [`Collector`]s with names of their own. Spec: docs/config.md.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use elevate_protocol::name::Name;
use elevate_protocol::paste::is_address;
use serde::{Deserialize, Serialize};

/// Most collectors.
const COLLECTORS_MAX: usize = 16;
/// What `to` looks like.
const FORM: &str = "unix:/PATH, udp:HOST:PORT or tcp:HOST:PORT";

/// One collector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Collector {
    /// Names its place in the log; a new name begins anew.
    pub(crate) name: Name,
    /// Where it is.
    pub(crate) to: Target,
    /// Where it begins.
    #[serde(default)]
    pub(crate) from: Begin,
}

/// Where a collector begins that has never run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Begin {
    /// With event 0.
    #[default]
    First,
    /// With the next event.
    Next,
}

/// Where a collector is, and how it is spoken to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum Target {
    /// A datagram socket on this machine.
    Unix(PathBuf),
    /// RFC 5426, `HOST:PORT`.
    Udp(String),
    /// RFC 6587 with octet counting, `HOST:PORT`.
    Tcp(String),
}

/// Not the form of a target.
#[derive(Debug, thiserror::Error)]
#[error("{found:?} is no collector: write {FORM}")]
pub(crate) struct TargetError {
    found: String,
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let found = || TargetError { found: text.to_owned() };
        match text.split_once(':').ok_or_else(found)? {
            ("unix", path) if path.starts_with('/') => Ok(Self::Unix(PathBuf::from(path))),
            ("udp", address) if is_address(address) => Ok(Self::Udp(address.to_owned())),
            ("tcp", address) if is_address(address) => Ok(Self::Tcp(address.to_owned())),
            _ => Err(found()),
        }
    }
}

impl TryFrom<String> for Target {
    type Error = TargetError;

    fn try_from(text: String) -> Result<Self, TargetError> {
        text.parse()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Udp(address) => write!(f, "udp:{address}"),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

impl From<Target> for String {
    fn from(target: Target) -> Self {
        target.to_string()
    }
}

/// What is used when nothing is said: the machine's own syslog.
pub(super) fn default() -> Vec<Collector> {
    let name = "local".parse::<Name>();
    let to = Target::Unix(PathBuf::from("/dev/log"));
    name.map(|name| Collector { name, to, from: Begin::First }).into_iter().collect()
}

/// What to write instead of these; none: they can be used.
pub(super) fn fault(collectors: &[Collector]) -> Option<&'static str> {
    let twice = |(index, one): (usize, &Collector)| {
        collectors.iter().skip(index.saturating_add(1)).any(|other| other.name == one.name)
    };
    if collectors.len() > COLLECTORS_MAX {
        return Some("at most 16 collectors");
    }
    collectors.iter().enumerate().any(twice).then_some("each collector with a name of its own")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_strictly_and_written_back() {
        for good in ["unix:/dev/log", "udp:10.1.2.3:514", "tcp:logs.example:601", "tcp:[fd00::1]:601"] {
            assert_eq!(good.parse::<Target>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "/dev/log",
            "unix:dev/log",
            "tcp:logs.example",
            "udp:a b:514",
            "tls:x:1",
            "tcp:x:0",
            "TCP:x:1",
        ] {
            assert!(bad.parse::<Target>().unwrap_err().to_string().contains(FORM), "{bad}");
        }
    }

    #[test]
    fn two_collectors_of_one_name_are_refused() {
        let mut two = default();
        assert_eq!(fault(&two), None);
        two.extend(default());
        assert!(fault(&two).is_some());
    }
}
