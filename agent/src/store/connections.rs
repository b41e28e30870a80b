//! Connections of sshd that certificates of grants have opened: what an agent that starts again has to know of them.
//!
//! In: connections. Out: `/run/elevate/connections.json`, replaced as a whole. Gone with the boot, as the connections are.

use std::collections::BTreeMap;

use elevate_protocol::document::EndCause;
use elevate_protocol::id::ActivationId;
use elevate_protocol::message::session::SshConnection;
use serde::{Deserialize, Serialize};

use crate::closing::Target;
use crate::paths::Paths;
use crate::process::Process;
use crate::safe::{self, Durability, SafeError};

/// Most connections at a time, with those of which only something is left that they started.
pub(crate) const CONNECTIONS_MAX: usize = 2048;
/// Most of them of one grant.
pub(crate) const GRANT_MAX: usize = 512;
/// Longest file.
const FILE_MAX: u64 = 4 * 1024 * 1024;

/// By the process of sshd that serves them, or did.
pub(crate) type Connections = BTreeMap<Process, Connection>;

/// One connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Connection {
    /// Under this grant and no other.
    pub(crate) grant: ActivationId,
    /// As it is reported.
    pub(crate) shown: SshConnection,
    /// The login session of sshd's process before this connection had one of its own.
    pub(crate) before: Option<u32>,
    /// Its own login session.
    pub(crate) session: Option<u32>,
    /// How far it is.
    pub(crate) stage: Stage,
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Stage {
    /// Served.
    Open,
    /// Over, and something that was started in it still runs.
    Remains,
    /// Its grant is over: it is being closed.
    Closing {
        /// Why the grant is over, where that is known.
        cause: Option<EndCause>,
        /// Whether it was over already, and only what it left is ended.
        remains: bool,
    },
}

impl Connection {
    /// What is to be ended.
    #[must_use]
    pub(crate) fn target(&self, served_by: Process) -> Target {
        Target { served_by, session: self.session, before: self.before }
    }
}

/// An entry of the file: JSON has no maps by process.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    served_by: Process,
    connection: Connection,
}

/// What is written there; nothing where nothing is.
///
/// # Errors
/// [`SafeError`], or why the text is none of ours. Connections may be open that nobody knows of then.
pub(crate) fn load(paths: &Paths) -> Result<Connections, String> {
    let text = match safe::read(&paths.connections, FILE_MAX) {
        Ok(text) => text,
        Err(SafeError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Connections::new());
        }
        Err(error) => return Err(crate::journal::chain(&error)),
    };
    let entries: Vec<Entry> = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    Ok(entries.into_iter().map(|entry| (entry.served_by, entry.connection)).collect())
}

/// Writes them down.
///
/// # Errors
/// [`SafeError`]; what stood there stands.
pub(crate) fn save(paths: &Paths, connections: &Connections) -> Result<(), SafeError> {
    let entry = |(served_by, connection): (&Process, &Connection)| Entry {
        served_by: *served_by,
        connection: connection.clone(),
    };
    let entries: Vec<Entry> = connections.iter().map(entry).collect();
    let text = serde_json::to_string(&entries).unwrap_or_default();
    safe::write(&paths.connections, &text, 0o600, Durability::Memory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use elevate_protocol::text::UntrustedText;
    use elevate_protocol::time::Timestamp;

    #[test]
    fn what_is_written_is_read_and_what_is_torn_is_told() {
        let place = tempfile::tempdir().unwrap();
        let paths = Paths::below(place.path());
        std::fs::create_dir_all(&paths.run).unwrap();
        assert_eq!(load(&paths), Ok(Connections::new()));
        let shown = SshConnection {
            login: "deploy".parse().unwrap(),
            from: Some(UntrustedText::lossy("10.0.0.7")),
            serial: 9,
            fingerprint: UntrustedText::lossy("SHA256:x"),
            pid: 77,
            since: Timestamp(1),
        };
        let grant = ActivationId::from_random([1; 16]);
        let of = |stage, session| Connection { grant, shown: shown.clone(), before: None, session, stage };
        let closing = Stage::Closing { cause: Some(EndCause::Expired), remains: true };
        let connections: Connections = [
            (Process { pid: 77, began: 5 }, of(Stage::Open, Some(3))),
            (Process { pid: 78, began: 5 }, of(closing, None)),
        ]
        .into();
        save(&paths, &connections).unwrap();
        assert_eq!(load(&paths).unwrap(), connections);
        let text = std::fs::read_to_string(&paths.connections).unwrap();
        std::fs::write(&paths.connections, text.trim_end_matches(']')).unwrap();
        assert!(load(&paths).is_err());
        std::fs::remove_file(&paths.connections).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &paths.connections).unwrap();
        assert!(load(&paths).is_err());
    }
}
