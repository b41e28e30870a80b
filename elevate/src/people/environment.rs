//! What is taken from around the program, once, at the start: few variables, the person's home, this host's name.
//!
//! In: the environment, passwd, /etc/elevate/agent.toml. Out: [`Environment`]. Nothing else of the environment is used
//! (threat B14): no pager, no editor, no socket path.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use elevate_protocol::name::Name;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Span;
use nix::unistd::{Uid, User, getuid};

use crate::args::Format;
use crate::failure::Failure;

/// The agent's configuration: world-readable, names this host.
const AGENT_TOML: &str = "/etc/elevate/agent.toml";
/// Longest configuration read, in bytes.
const AGENT_TOML_MAX: u64 = 64 * 1024;
/// The usual key files, under the home folder.
const USUAL_KEYS: [&str; 3] = [".ssh/id_ed25519", ".ssh/id_ecdsa", ".ssh/id_rsa"];

/// What was found.
#[derive(Debug, Clone)]
pub struct Environment {
    /// ELEVATE_SERVER.
    pub server: Option<String>,
    /// ELEVATE_FORMAT.
    pub format: Option<Format>,
    /// ELEVATE_DURATION.
    pub duration: Option<Span>,
    /// ELEVATE_REASON.
    pub reason: Option<UntrustedText>,
    /// SSH_AUTH_SOCK.
    pub ssh_agent: Option<PathBuf>,
    /// NO_COLOR is set and not empty (no-color.org).
    pub no_colour: bool,
    /// Where commands are looked for before sudo does so in its own way.
    pub path: Vec<PathBuf>,
    /// The person's home folder.
    pub home: PathBuf,
    /// The person's uid.
    pub uid: Uid,
    /// This host's name to the daemon, when it is managed.
    pub host: Option<Name>,
}

impl Environment {
    /// Reads it. A variable that is empty counts as not there.
    ///
    /// # Errors
    /// A usage failure that names the variable whose value is not right.
    pub fn read(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let get = |name: &str| variable(name).filter(|value| !value.is_empty());
        let format = match get("ELEVATE_FORMAT").map(|text| Format::from_str(&text, false)) {
            None => None,
            Some(Ok(format)) => Some(format),
            Some(Err(_)) => {
                return Err(Failure::usage(
                    "ELEVATE_FORMAT is none of text, json, yaml, csv",
                    "unset it, or --format",
                ));
            }
        };
        let duration = match get("ELEVATE_DURATION").map(|text| text.parse::<Span>()) {
            None => None,
            Some(Ok(span)) => Some(span),
            Some(Err(error)) => {
                return Err(Failure::usage(format!("ELEVATE_DURATION: {error}"), "unset it, or -d DURATION"));
            }
        };
        let reason = match get("ELEVATE_REASON").map(|text| text.parse::<UntrustedText>()) {
            None => None,
            Some(Ok(text)) => Some(text),
            Some(Err(error)) => {
                return Err(Failure::usage(format!("ELEVATE_REASON: {error}"), "unset it, or -m TEXT"));
            }
        };
        let uid = getuid();
        Ok(Self {
            server: get("ELEVATE_SERVER"),
            format,
            duration,
            reason,
            ssh_agent: get("SSH_AUTH_SOCK").map(PathBuf::from),
            no_colour: get("NO_COLOR").is_some(),
            path: get("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default(),
            home: home(uid, get("HOME")),
            uid,
            host: host_name(Path::new(AGENT_TOML)),
        })
    }

    /// The usual key files.
    #[must_use]
    pub fn usual_keys(&self) -> Vec<PathBuf> {
        USUAL_KEYS.iter().map(|name| self.home.join(name)).collect()
    }
}

/// As ssh(1): the home folder of the account, whatever HOME says; HOME where there is no account.
fn home(uid: Uid, variable: Option<String>) -> PathBuf {
    match User::from_uid(uid) {
        Ok(Some(user)) => user.dir,
        Ok(None) | Err(_) => PathBuf::from(variable.unwrap_or_else(|| "/".to_owned())),
    }
}

/// Only to see whether -H names this host: the daemon decides by what the agent vouches for.
fn host_name(path: &Path) -> Option<Name> {
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(AGENT_TOML_MAX).read_to_string(&mut text).ok()?;
    text.parse::<toml::Table>().ok()?.get("name")?.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use elevate_protocol::message::refusal::Code;

    fn read(pairs: &[(&str, &str)]) -> Result<Environment, Failure> {
        Environment::read(&|name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn variables_stand_in_for_options_and_wrong_ones_are_named() {
        let found =
            read(&[("ELEVATE_DURATION", "90m"), ("ELEVATE_FORMAT", "json"), ("NO_COLOR", "")]).unwrap();
        assert_eq!((found.duration, found.format), (Some(Span(5400)), Some(Format::Json)));
        assert!(!found.no_colour && found.reason.is_none());
        for (name, value) in
            [("ELEVATE_DURATION", "90"), ("ELEVATE_FORMAT", "xml"), ("ELEVATE_REASON", "a\x1bb")]
        {
            let refusal = read(&[(name, value)]).unwrap_err().refusal();
            assert_eq!(refusal.code, Code::Usage);
            assert!(refusal.message.contains(name), "{}", refusal.message);
        }
    }

    #[test]
    fn the_hosts_name_is_read_from_the_agents_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.toml");
        assert_eq!(host_name(&path), None);
        std::fs::write(&path, "daemon = \"d:7022\"\nname = \"web1\"\n").unwrap();
        assert_eq!(host_name(&path).unwrap().as_str(), "web1");
        std::fs::write(&path, "name = \"../x\"\n").unwrap();
        assert_eq!(host_name(&path), None);
    }
}
