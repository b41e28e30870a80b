//! The SSH part of a role and of a grant: the accounts that a certificate opens, and what it allows there.
//!
//! In: text from a policy, a document or a certificate. Out: values that sshd reads in one way only (THREATS E01, E08, E10).
//! Spec: docs/grant-format.md "ssh".

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use ssh_key::{Algorithm, EcdsaCurve, PublicKey};

use crate::id::ActivationId;
use crate::name::Name;

/// Most accounts of one role.
pub const LOGINS_MAX: usize = 16;
/// Most networks that a certificate may be used from.
pub const SOURCES_MAX: usize = 16;
/// Longest forced command in bytes.
pub const FORCED_MAX: usize = 1024;
/// Most keys that sign certificates of one kind at one time.
pub const CAS_MAX: usize = 4;
/// Longest key of a CA, as one line.
const CA_MAX: usize = 512;
/// What every principal of ours begins with.
pub(crate) const PRINCIPAL: &str = "elevate:";

/// Why some text is not an SSH part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SshError {
    /// No account, or too many.
    #[error("an SSH part names 1 to {LOGINS_MAX} accounts, this {found}")]
    Logins {
        /// Accounts found.
        found: usize,
    },
    /// Something twice.
    #[error("{what} stands twice")]
    Twice {
        /// What.
        what: String,
    },
    /// Too many networks.
    #[error("at most {SOURCES_MAX} networks, this names {found}")]
    Sources {
        /// Networks found.
        found: usize,
    },
    /// Not an address or a network as sshd takes it.
    #[error("{text:?} is neither an address nor a network like 10.1.0.0/16 without bits beyond its length")]
    Source {
        /// The text.
        text: String,
    },
    /// A forced command that is empty, too long, or more than one line.
    #[error("a forced command is one line of 1 to {FORCED_MAX} bytes without control characters")]
    Forced,
    /// Not a key that signs certificates here.
    #[error(
        "a CA is one Ed25519 or ECDSA P-256 key in OpenSSH's form, without a comment and never a certificate"
    )]
    Ca,
    /// Too many keys, or one twice.
    #[error("at most {CAS_MAX} different CAs sign at one time")]
    Cas,
}

/// Something that sshd forwards for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Forward {
    /// Connections that begin at the person's machine: `ssh -L`, `-D`, `-J`.
    Local,
    /// Connections that begin at the host: `ssh -R`.
    Remote,
    /// The person's ssh-agent.
    Agent,
    /// X11.
    X11,
}

impl Forward {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Local, Self::Remote, Self::Agent, Self::X11];

    /// As a policy writes it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
            Self::Agent => "agent",
            Self::X11 => "x11",
        }
    }
}

/// An address or a network, as `source-address` of PROTOCOL.certkeys has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Source {
    address: IpAddr,
    length: u8,
}

impl FromStr for Source {
    type Err = SshError;
    fn from_str(text: &str) -> Result<Self, SshError> {
        let wrong = || SshError::Source { text: text.chars().take(64).collect() };
        let (address, length) = match text.split_once('/') {
            None => (text, None),
            Some((address, length)) => (address, Some(length.parse::<u8>().map_err(|_| wrong())?)),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        // sshd refuses a certificate whose network has bits beyond its length (addr_pton_cidr).
        let (bits, width) = match address {
            IpAddr::V4(four) => (u128::from(four.to_bits()) << 96, 32),
            IpAddr::V6(six) => (six.to_bits(), 128),
        };
        let length = length.unwrap_or(width);
        let beyond = bits.checked_shl(u32::from(length)).unwrap_or(0);
        let source = Self { address, length };
        let canonical = source.to_string() == text || format!("{address}/{width}") == text;
        if length > width || beyond != 0 || !canonical {
            return Err(wrong());
        }
        Ok(source)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = if self.address.is_ipv4() { 32 } else { 128 };
        if self.length == width { self.address.fmt(f) } else { write!(f, "{}/{}", self.address, self.length) }
    }
}

impl TryFrom<String> for Source {
    type Error = SshError;
    fn try_from(text: String) -> Result<Self, SshError> {
        text.parse()
    }
}

impl From<Source> for String {
    fn from(source: Source) -> Self {
        source.to_string()
    }
}

/// What a certificate allows besides logging in, and what it is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshOptions {
    /// What is forwarded; nothing but this.
    pub forward: Vec<Forward>,
    /// Whether there is a terminal.
    pub pty: bool,
    /// Where connections may come from; empty: from everywhere.
    pub source: Vec<Source>,
    /// The one command that runs, whatever the person asks for.
    pub command: Option<String>,
    /// Whether there are certificates for machines without agent, too: with the accounts themselves as principals.
    pub agentless: bool,
}

impl Default for SshOptions {
    fn default() -> Self {
        Self { forward: vec![], pty: true, source: vec![], command: None, agentless: false }
    }
}

impl SshOptions {
    /// Extensions of a certificate, sorted as PROTOCOL.certkeys wants them; each has an empty value.
    #[must_use]
    pub fn extensions(&self) -> Vec<&'static str> {
        let has = |what: &[Forward]| self.forward.iter().any(|one| what.contains(one));
        [
            ("permit-X11-forwarding", has(&[Forward::X11])),
            ("permit-agent-forwarding", has(&[Forward::Agent])),
            ("permit-port-forwarding", has(&[Forward::Local, Forward::Remote])),
            ("permit-pty", self.pty),
        ]
        .into_iter()
        .filter_map(|(name, wanted)| wanted.then_some(name))
        .collect()
    }

    /// Critical options of a certificate with their values, sorted as PROTOCOL.certkeys wants them.
    #[must_use]
    pub fn critical_options(&self) -> Vec<(&'static str, String)> {
        let sources: Vec<String> = self.source.iter().map(ToString::to_string).collect();
        let sources = (!sources.is_empty()).then(|| ("source-address", sources.join(",")));
        self.command.clone().map(|command| ("force-command", command)).into_iter().chain(sources).collect()
    }

    fn check(&self) -> Result<(), SshError> {
        once(&self.forward, |one| format!("{one:?}"))?;
        once(&self.source, ToString::to_string)?;
        if self.source.len() > SOURCES_MAX {
            return Err(SshError::Sources { found: self.source.len() });
        }
        let fits = |text: &String| {
            (1..=FORCED_MAX).contains(&text.len())
                && !text.chars().any(char::is_control)
                && text.trim() == text
        };
        if self.command.as_ref().is_some_and(|command| !fits(command)) {
            return Err(SshError::Forced);
        }
        Ok(())
    }
}

fn once<T: PartialEq>(list: &[T], say: impl Fn(&T) -> String) -> Result<(), SshError> {
    let twice =
        list.iter().enumerate().find(|(index, one)| list.iter().take(*index).any(|before| before == *one));
    twice.map_or(Ok(()), |(_, one)| Err(SshError::Twice { what: say(one) }))
}

/// The accounts that certificates of a grant open, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawSshPart", into = "RawSshPart")]
pub struct SshPart {
    logins: Vec<Name>,
    options: SshOptions,
}

/// The JSON form of [`SshPart`]. It is critical as a whole, so that a field which is not known is a refusal.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSshPart {
    logins: Vec<Name>,
    #[serde(default)]
    forward: Vec<Forward>,
    #[serde(default = "yes")]
    pty: bool,
    #[serde(default)]
    source: Vec<Source>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    #[serde(default, skip_serializing_if = "is_not")]
    agentless: bool,
}

fn is_not(flag: &bool) -> bool {
    !flag
}

fn yes() -> bool {
    true
}

impl SshPart {
    /// Builds the part.
    ///
    /// # Errors
    /// [`SshError`] for a list that is empty, too long or names something twice, and for a forced command of another form.
    pub fn new(logins: Vec<Name>, options: SshOptions) -> Result<Self, SshError> {
        if !(1..=LOGINS_MAX).contains(&logins.len()) {
            return Err(SshError::Logins { found: logins.len() });
        }
        once(&logins, ToString::to_string)?;
        options.check()?;
        Ok(Self { logins, options })
    }

    /// The accounts, exactly as they are called on the host.
    #[must_use]
    pub fn logins(&self) -> &[Name] {
        &self.logins
    }

    /// What is allowed there.
    #[must_use]
    pub fn options(&self) -> &SshOptions {
        &self.options
    }
}

impl TryFrom<RawSshPart> for SshPart {
    type Error = SshError;
    fn try_from(raw: RawSshPart) -> Result<Self, SshError> {
        let RawSshPart { logins, forward, pty, source, command, agentless } = raw;
        Self::new(logins, SshOptions { forward, pty, source, command, agentless })
    }
}

impl From<SshPart> for RawSshPart {
    fn from(part: SshPart) -> Self {
        let SshOptions { forward, pty, source, command, agentless } = part.options;
        Self { logins: part.logins, forward, pty, source, command, agentless }
    }
}

/// The one principal of a grant's certificates: made of its id alone, never of text that somebody chose.
#[must_use]
pub fn principal(id: ActivationId) -> String {
    format!("{PRINCIPAL}{id}")
}

/// The grant that a principal names; none for every other text.
#[must_use]
pub fn of_principal(text: &str) -> Option<ActivationId> {
    text.strip_prefix(PRINCIPAL)?.parse().ok()
}

/// A key that signs certificates, as one line of OpenSSH's form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ca(String);

impl Ca {
    /// The line, without a line end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Ca {
    type Err = SshError;
    fn from_str(text: &str) -> Result<Self, SshError> {
        let key = (text.len() <= CA_MAX).then(|| PublicKey::from_openssh(text).ok()).flatten();
        let key = key.ok_or(SshError::Ca)?;
        let signs =
            matches!(key.algorithm(), Algorithm::Ed25519 | Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 });
        let plain = PublicKey::new(key.key_data().clone(), "").to_openssh().map_err(|_| SshError::Ca)?;
        if signs && plain == text { Ok(Self(plain)) } else { Err(SshError::Ca) }
    }
}

impl TryFrom<String> for Ca {
    type Error = SshError;
    fn try_from(text: String) -> Result<Self, SshError> {
        text.parse()
    }
}

impl From<Ca> for String {
    fn from(ca: Ca) -> Self {
        ca.0
    }
}

/// All the keys that sign certificates of one kind. None: no such certificate is believed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Ca>", into = "Vec<Ca>")]
pub struct Cas(Vec<Ca>);

impl Cas {
    /// The keys, oldest first.
    #[must_use]
    pub fn keys(&self) -> &[Ca] {
        &self.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text of a file for sshd_config(5) `TrustedUserCAKeys`.
    #[must_use]
    pub fn to_file(&self) -> String {
        self.0.iter().flat_map(|ca| [ca.as_str(), "\n"]).collect()
    }
}

impl TryFrom<Vec<Ca>> for Cas {
    type Error = SshError;
    fn try_from(keys: Vec<Ca>) -> Result<Self, SshError> {
        once(&keys, |_| String::new()).map_err(|_| SshError::Cas)?;
        if keys.len() > CAS_MAX { Err(SshError::Cas) } else { Ok(Self(keys)) }
    }
}

impl From<Cas> for Vec<Ca> {
    fn from(cas: Cas) -> Self {
        cas.0
    }
}

#[cfg(test)]
#[path = "ssh_tests.rs"]
mod tests;
