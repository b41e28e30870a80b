//! Conversations with the daemon: over the real `ssh`, or over its local socket.
//!
//! In: an address and a key, or a path. Out: what the daemon replied, or that nobody was there.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use elevate_protocol::frame;
use elevate_protocol::message::Versions;
use elevate_protocol::message::admin::{AdminAsk, AdminOutcome};
use elevate_protocol::message::person::{Ask, Outcome, Reply, Say};
use elevate_protocol::message::refusal::Refusal;
use elevate_protocol::secret::Secret;

/// Longest wait for one reply over the local socket.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no outcome.
#[derive(Debug)]
pub(crate) enum Lost {
    /// The daemon said no.
    Refused(Box<Refusal>),
    /// The connection did not come or ended.
    Gone,
}

/// An SSH connection with one subsystem on it.
#[derive(Debug)]
pub(crate) struct Ssh {
    child: Child,
    pub(crate) input: ChildStdin,
    pub(crate) output: ChildStdout,
}

/// Where somebody is who comes over SSH.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The daemon's address.
    pub(crate) address: String,
    /// The private key.
    pub(crate) key: PathBuf,
}

impl Ssh {
    /// Connects; that it failed is seen by reading.
    pub(crate) fn open(place: &Place, user: &str, subsystem: &str) -> Self {
        let mut ssh = Command::new("/usr/bin/ssh");
        ssh.args(["-F", "none", "-T", "-p", "7022", "-l", user, "-i"]).arg(&place.key);
        for option in [
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "GlobalKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "ConnectTimeout=10",
            "KexAlgorithms=curve25519-sha256",
        ] {
            ssh.args(["-o", option]);
        }
        ssh.args(["-s", &place.address, subsystem]);
        let mut child =
            ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, input, output }
    }

    /// Ends it from another thread.
    pub(crate) fn pid(&self) -> i32 {
        self.child.id().try_into().unwrap()
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Says hello and one ask; gives a code when asked for one.
fn converse(
    output: &mut impl Read,
    input: &mut impl Write,
    (ask, code): (Ask, Option<&str>),
) -> Result<Outcome, Lost> {
    let mut say = |what: &Say| frame::write(input, what).map_err(|_| Lost::Gone);
    let mut reply = || match frame::read::<Reply>(output) {
        Ok(Some(reply)) => Ok(reply),
        Ok(None) | Err(_) => Err(Lost::Gone),
    };
    say(&Say::Hello { versions: Versions::OURS })?;
    loop {
        match reply()? {
            Reply::Hello { .. } => say(&Say::Ask(ask.clone()))?,
            Reply::Challenge(challenge) => {
                let code = Secret::new(code.expect("a code is asked for").to_owned());
                say(&Say::Answer { challenge: challenge.id, code })?;
            }
            Reply::Verdict { accepted, message, .. } => assert!(accepted, "the code: {message:?}"),
            Reply::Progress(_) | Reply::Event(_) | Reply::Notice { .. } => {}
            Reply::Done(outcome) => return Ok(outcome),
            Reply::Refused(refusal) => return Err(Lost::Refused(Box::new(refusal))),
            other @ (Reply::Prompt { .. } | Reply::Seed { .. } | Reply::Part { .. } | Reply::Away(_)) => {
                panic!("{other:?}")
            }
        }
    }
}

/// One conversation over SSH.
pub(crate) fn person(place: &Place, login: &str, ask: Ask, code: Option<&str>) -> Result<Outcome, Lost> {
    let mut ssh = Ssh::open(place, login, "elevate");
    converse(&mut ssh.output, &mut ssh.input, (ask, code))
}

/// Takes an invitation: the seed as URI; `code` makes the first code of it.
pub(crate) fn enrol_factor(
    place: &Place,
    login: &str,
    token: Secret,
    mut code: impl FnMut(&str) -> String,
) -> String {
    let mut ssh = Ssh::open(place, login, "elevate");
    let mut seed = None;
    frame::write(&mut ssh.input, &Say::Hello { versions: Versions::OURS }).unwrap();
    frame::write(&mut ssh.input, &Say::Ask(Ask::FactorAdd { invitation: token })).unwrap();
    loop {
        match frame::read::<Reply>(&mut ssh.output).unwrap().expect("the daemon hung up") {
            Reply::Seed { uri } => seed = Some(uri.expose().to_owned()),
            Reply::Challenge(challenge) => {
                let code = Secret::new(code(seed.as_ref().expect("a seed first")));
                frame::write(&mut ssh.input, &Say::Answer { challenge: challenge.id, code }).unwrap();
            }
            Reply::Done(_) => return seed.expect("a seed"),
            Reply::Refused(refusal) => panic!("{refusal:?}"),
            _ => {}
        }
    }
}

/// One conversation of root over the local socket.
pub(crate) fn admin(socket: &Path, ask: AdminAsk) -> Result<AdminOutcome, Lost> {
    let mut stream = UnixStream::connect(socket).map_err(|_| Lost::Gone)?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut writer = stream.try_clone().unwrap();
    match converse(&mut stream, &mut writer, (Ask::Admin(ask), None))? {
        Outcome::Admin(outcome) => Ok(outcome),
        other => panic!("{other:?}"),
    }
}

/// The latest lines of the log, oldest first.
pub(crate) fn events(socket: &Path) -> Result<Vec<String>, Lost> {
    let mut stream = UnixStream::connect(socket).map_err(|_| Lost::Gone)?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let ask = Say::Ask(Ask::Admin(AdminAsk::AuditTail { last: 10_000, follow: false }));
    for say in [Say::Hello { versions: Versions::OURS }, ask] {
        frame::write(&mut stream, &say).map_err(|_| Lost::Gone)?;
    }
    let mut lines = Vec::new();
    loop {
        match frame::read::<Reply>(&mut stream) {
            Ok(Some(Reply::Event(line))) => lines.push(line),
            Ok(Some(Reply::Done(_))) => return Ok(lines),
            Ok(Some(Reply::Refused(refusal))) => return Err(Lost::Refused(Box::new(refusal))),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return Err(Lost::Gone),
        }
    }
}
