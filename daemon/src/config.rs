//! /etc/elevate/daemon.toml: every setting of the daemon and its default.
//!
//! In: the file. Out: [`Config`], checked; errors name file, line and column. Spec: docs/config.md, which a test compares.

mod collector;
mod keys;

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};

use elevate_protocol::paste::is_address;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::cli::{ADMIN_SOCKET, DATA_DIR, LISTEN};
use crate::log::Level;

pub(crate) use collector::{Begin, Collector, Target};
pub(crate) use keys::KeyPlaces;

/// Longest configuration file in bytes.
const FILE_MAX: u64 = 64 * 1024;

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The file.
    pub(crate) path: PathBuf,
    /// Line, from 1.
    pub(crate) line: usize,
    /// Column in characters, from 1.
    pub(crate) column: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.path.display(), self.line, self.column)
    }
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// Not there or not readable.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Too long to be one.
    #[error("{path} is longer than {FILE_MAX} bytes")]
    Length {
        /// The file.
        path: PathBuf,
    },
    /// Not TOML, an unknown key, or a value of another type.
    #[error("{place}: {message}")]
    Form {
        /// Where.
        place: Place,
        /// What the parser says.
        message: String,
    },
    /// A value that is not what it should be.
    #[error("{place}: {key} is not valid: write {form}")]
    Value {
        /// Where.
        place: Place,
        /// The key.
        key: &'static str,
        /// What to write.
        form: &'static str,
    },
}

/// The settings, every default filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Config {
    /// Where to listen.
    pub(crate) listen: SocketAddr,
    /// What paste strings carry, `NAME:PORT`.
    pub(crate) address: String,
    /// Database, lock and keys.
    pub(crate) data_dir: PathBuf,
    /// The policy's files.
    pub(crate) policy_dir: PathBuf,
    /// The socket for root on this machine.
    pub(crate) admin_socket: PathBuf,
    /// How much is said on standard error.
    pub(crate) log: Level,
    /// Where keys live.
    pub(crate) keys: KeyPlaces,
    /// Events to syslog.
    pub(crate) syslog: Vec<Collector>,
    /// Events to a program.
    pub(crate) notify: Notify,
    /// How many at once.
    pub(crate) limits: Limits,
}

/// `[notify]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Notify {
    /// Program and arguments; empty: none.
    pub(crate) exec: Vec<String>,
}

/// `[limits]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Connections of one source address (IPv6: of one /64) that have not authenticated.
    pub(crate) unauthenticated_per_source: u32,
    /// Connections of all sources that have not authenticated.
    pub(crate) unauthenticated: u32,
    /// Seconds until a connection must have authenticated.
    pub(crate) login_seconds: u32,
    /// Connections of one person.
    pub(crate) connections_per_person: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            unauthenticated_per_source: 10,
            unauthenticated: 256,
            login_seconds: 10,
            connections_per_person: 32,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: Option<Spanned<String>>,
    address: Spanned<String>,
    data_dir: Option<Spanned<PathBuf>>,
    policy_dir: Option<Spanned<PathBuf>>,
    admin_socket: Option<Spanned<PathBuf>>,
    #[serde(default)]
    log: Level,
    keys: Option<Spanned<KeyPlaces>>,
    syslog: Option<Spanned<Vec<Collector>>>,
    notify: Option<Spanned<Notify>>,
    limits: Option<Spanned<Limits>>,
}

/// See [`LISTEN`].
pub(crate) const POLICY_DIR: &str = "/etc/elevate/policy.d";

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Reader<'_> {
    fn place(&self, span: Option<Range<usize>>) -> Place {
        let before = span.and_then(|span| self.text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count().saturating_add(1);
        let column = before.chars().rev().take_while(|c| *c != '\n').count().saturating_add(1);
        Place { path: self.path.to_owned(), line, column }
    }

    fn value<T>(&self, at: &Spanned<T>, key: &'static str, form: &'static str) -> ConfigError {
        ConfigError::Value { place: self.place(Some(at.span())), key, form }
    }

    fn folder(
        &self,
        found: Option<Spanned<PathBuf>>,
        key: &'static str,
        default: &str,
    ) -> Result<PathBuf, ConfigError> {
        match found {
            None => Ok(PathBuf::from(default)),
            Some(at) if at.get_ref().is_absolute() => Ok(at.into_inner()),
            Some(at) => Err(self.value(&at, key, "an absolute path")),
        }
    }

    fn keys(&self, found: Option<Spanned<KeyPlaces>>) -> Result<KeyPlaces, ConfigError> {
        let Some(at) = found else { return Ok(KeyPlaces::default()) };
        if let Some(key) = at.get_ref().unusable() {
            return Err(self.value(&at, key, keys::FORM));
        }
        match at.get_ref().shared() {
            Some(key) => Err(self.value(&at, key, keys::OWN)),
            None => Ok(at.into_inner()),
        }
    }

    fn syslog(&self, found: Option<Spanned<Vec<Collector>>>) -> Result<Vec<Collector>, ConfigError> {
        let Some(at) = found else { return Ok(collector::default()) };
        match collector::fault(at.get_ref()) {
            Some(form) => Err(self.value(&at, "syslog", form)),
            None => Ok(at.into_inner()),
        }
    }

    fn notify(&self, found: Option<Spanned<Notify>>) -> Result<Notify, ConfigError> {
        match found {
            Some(at) if at.get_ref().exec.first().is_some_and(|program| !program.starts_with('/')) => Err(
                self.value(&at, "notify.exec", "[\"/absolute/path\", \"argument\", …]; no shell reads it"),
            ),
            found => Ok(found.map(Spanned::into_inner).unwrap_or_default()),
        }
    }

    fn limits(&self, found: Option<Spanned<Limits>>) -> Result<Limits, ConfigError> {
        let Some(at) = found else { return Ok(Limits::default()) };
        let limits = *at.get_ref();
        let all = [limits.unauthenticated_per_source, limits.unauthenticated, limits.connections_per_person];
        if all.contains(&0) {
            return Err(self.value(&at, "limits", "1 or more for each number of connections"));
        }
        if !(1..=120).contains(&limits.login_seconds) {
            return Err(self.value(&at, "limits.login_seconds", "1 to 120"));
        }
        Ok(limits)
    }

    fn read(&self) -> Result<Config, ConfigError> {
        let file: File = toml::from_str(self.text).map_err(|error| ConfigError::Form {
            place: self.place(error.span()),
            message: error.message().to_owned(),
        })?;
        let listen = match &file.listen {
            None => LISTEN.parse().ok(),
            Some(at) => at.get_ref().parse().ok(),
        };
        let listen = listen.ok_or_else(|| {
            let at = file.listen.as_ref().unwrap_or(&file.address);
            self.value(at, "listen", "ADDRESS:PORT with a numeric address, such as \"[::]:7022\"")
        })?;
        if !is_address(file.address.get_ref()) {
            return Err(self.value(
                &file.address,
                "address",
                "NAME:PORT, as hosts and people reach this daemon",
            ));
        }
        Ok(Config {
            listen,
            address: file.address.into_inner(),
            data_dir: self.folder(file.data_dir, "data_dir", DATA_DIR)?,
            policy_dir: self.folder(file.policy_dir, "policy_dir", POLICY_DIR)?,
            admin_socket: self.folder(file.admin_socket, "admin_socket", ADMIN_SOCKET)?,
            log: file.log,
            keys: self.keys(file.keys)?,
            syslog: self.syslog(file.syslog)?,
            notify: self.notify(file.notify)?,
            limits: self.limits(file.limits)?,
        })
    }
}

/// Reads the text of a configuration file; `path` is for messages.
///
/// # Errors
/// A [`ConfigError`] that names file, line and column.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
    Reader { path, text }.read()
}

/// Reads the file.
///
/// # Errors
/// As [`parse`], and when it cannot be read.
pub(crate) fn read(path: &Path) -> Result<Config, ConfigError> {
    let unreadable = |source| ConfigError::Read { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(unreadable)?.len() > FILE_MAX {
        return Err(ConfigError::Length { path: path.to_owned() });
    }
    parse(path, &std::fs::read_to_string(path).map_err(unreadable)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse(Path::new("d.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn an_error_names_line_and_column_and_what_to_write() {
        assert_eq!(
            error("address = \"d:7022\"\n[notify]\nexce = [\"/x\"]\n").split(',').next().unwrap(),
            "d.toml:3:1: unknown field `exce`"
        );
        assert_eq!(
            error("address = \"d\"\n"),
            "d.toml:1:11: address is not valid: write NAME:PORT, as hosts and people reach this daemon"
        );
        assert!(
            error("address = \"d:1\"\nlisten = \"everywhere\"\n")
                .starts_with("d.toml:2:10: listen is not valid")
        );
        assert!(
            error("address = \"d:1\"\n[notify]\nexec = [\"mail\"]\n").contains("notify.exec is not valid")
        );
        assert!(error("address = \"d:1\"\ndata_dir = \"var\"\n").starts_with("d.toml:2:12: data_dir"));
        assert!(error("address = \"d:1\"\n[limits]\nunauthenticated = 0\n").contains("limits is not valid"));
        let one = "[[syslog]]\nname = \"siem\"\nto = \"tcp:logs.example:601\"\n";
        assert_eq!(
            error(&format!("address = \"d:1\"\n{one}{one}")),
            "d.toml:2:1: syslog is not valid: write each collector with a name of its own"
        );
        let other = one.replace("tcp:", "telnet:");
        assert!(error(&format!("address = \"d:1\"\n{other}")).starts_with("d.toml:4:6: \"telnet:"));
        assert!(error("listen = \"[::]:7022\"\n").contains("missing field `address`"));
    }

    #[test]
    fn only_the_address_must_be_said() {
        let config = parse(Path::new("d.toml"), "address = \"daemon.example:7022\"\n").unwrap();
        assert_eq!(config.listen.to_string(), LISTEN);
        assert_eq!(config.admin_socket, Path::new(ADMIN_SOCKET));
        assert_eq!(config.limits.unauthenticated_per_source, 10);
        let shown = toml::to_string(&config).unwrap();
        assert_eq!(
            parse(Path::new("d.toml"), &shown).unwrap(),
            config,
            "the effective values are a valid file"
        );
    }

    /// docs/config.md has one row for each key, with its default; no row has no key.
    #[test]
    fn the_documentation_has_every_key_with_its_default() {
        let text =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/config.md")).unwrap();
        let part = text.split("### daemon.toml").nth(1).unwrap().split("###").next().unwrap();
        let mut told: Vec<(String, String)> = Vec::new();
        for line in part.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<&str> = line.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
            told.push((cells[1].to_owned(), cells[2].to_owned()));
        }
        let config = parse(Path::new("d.toml"), "address = \"d:1\"\n");
        let toml::Value::Table(table) = toml::Value::try_from(config.unwrap()).unwrap() else {
            panic!("no table")
        };
        let mut real = Vec::new();
        for (key, value) in table {
            let value = value.get(0).cloned().unwrap_or(value);
            if let toml::Value::Table(inner) = value {
                real.extend(
                    inner.into_iter().map(|(name, value)| (format!("{key}.{name}"), value.to_string())),
                );
            } else {
                real.push((key, value.to_string().replace("\"d:1\"", "none, required")));
            }
        }
        told.sort();
        real.sort();
        assert_eq!(told, real);
    }
}
