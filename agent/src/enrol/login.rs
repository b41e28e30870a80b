//! The proof for sshd: that whoever logs in by a key still does, and that a certificate is taken by our word and ends at our PAM line, tried with
//! the real sshd and its real files before the sshd that listens is told of ours.
//!
//! In: an account without rights. Out: nothing, when all is as promised. How it opens no door: docs/decisions/0043. Threats E15, X-l.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use elevate_protocol::id::ActivationId;
use elevate_protocol::principals::{self, Entry};
use elevate_protocol::ssh::{SshOptions, principal};
use elevate_protocol::text::escape;
use elevate_protocol::time::Span;
use ssh_key::certificate::{Builder, CertType};
use ssh_key::private::Ed25519Keypair;
use ssh_key::{Algorithm, LineEnding, PrivateKey};

use crate::child::{self, Answer, ChildError};
use crate::clock;
use crate::life::{self, Life};
use crate::nss;
use crate::paths::Paths;
use crate::safe::{self, Durability};
use crate::sshd::{self, ACCOUNT};

use super::checks::CANARY_ACCOUNT;

/// How long one login may take; sshd may ask DNS who comes.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long what is said of the canary's grant holds, whatever becomes of us.
const LIFE: Span = Span(60);
/// The folder of the canary's keys. A name that the next start of the agent sweeps.
const FOLDER: &str = ".canary.new";
/// What ssh ends with where it was not let in.
const NOT_IN: i32 = 255;

/// Why nothing is proved, or what is not as promised.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginError {
    /// It cannot be tried here.
    #[error("it cannot be tried by a login: {why}")]
    Unproved {
        /// Why.
        why: String,
    },
    /// A plain key worked before and does not any more.
    #[error("a login by a plain key would no longer work: {said}")]
    Plain {
        /// What ssh and sshd said.
        said: String,
    },
    /// A certificate of no grant was let in.
    #[error("a certificate whose grant is not in force was not refused: {said}")]
    Open {
        /// What ssh and sshd said.
        said: String,
    },
    /// A certificate of a grant was refused before our PAM line.
    #[error("a certificate of a grant in force does not get as far as Elevate's PAM line: {said}")]
    Certificate {
        /// What ssh and sshd said.
        said: String,
    },
}

fn unproved<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> LoginError {
    move |error| LoginError::Unproved { why: format!("{what}: {error}") }
}

fn missing(what: &str) -> LoginError {
    LoginError::Unproved { why: format!("there is no {what}") }
}

/// The canary of one enrolment: its key, and a CA that only the sshd of a try is told of. Both end with this value.
pub(super) struct Canary<'a> {
    paths: &'a Paths,
    folder: PathBuf,
    ssh: PathBuf,
    sshd: PathBuf,
    key: PrivateKey,
    ca: PrivateKey,
    id: ActivationId,
}

impl Drop for Canary<'_> {
    fn drop(&mut self) {
        // What stays is swept by the next agent, and its lines say nothing after a minute.
        drop(safe::remove(&self.folder));
    }
}

impl<'a> Canary<'a> {
    /// Logs in by a plain key, before anything is changed.
    ///
    /// # Errors
    /// [`LoginError::Unproved`]: what does not work before proves nothing after.
    pub(super) fn before(paths: &'a Paths) -> Result<Self, LoginError> {
        let ssh = Paths::program("ssh").ok_or_else(|| missing("ssh"))?;
        let sshd = Paths::program("sshd").ok_or_else(|| missing("sshd"))?;
        let random = || {
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes).map(|()| bytes).map_err(unproved("no random bytes"))
        };
        let key = |seed: &[u8; 32]| PrivateKey::from(Ed25519Keypair::from_seed(seed));
        let (key, ca, id) = (key(&random()?), key(&random()?), random()?);
        let id = ActivationId::from_random(id.first_chunk().copied().unwrap_or_default());
        let canary = Self { paths, folder: paths.run.join(FOLDER), ssh, sshd, key, ca, id };
        canary.lay_out()?;
        let (answer, said) = canary.plain()?;
        match is_in(&answer) {
            true => Ok(canary),
            false => Err(LoginError::Unproved {
                why: format!(
                    "sshd does not let the account {CANARY_ACCOUNT} log in by a key, also without Elevate: {said}"
                ),
            }),
        }
    }

    /// Logs in again, with our files in place; and by a certificate, where no agent answers for real grants.
    ///
    /// # Errors
    /// A [`LoginError`] that says what is not as promised.
    pub(super) fn after(&self) -> Result<(), LoginError> {
        let (answer, said) = self.plain()?;
        if !is_in(&answer) {
            return Err(LoginError::Plain { said });
        }
        let file = self.paths.principals.join(CANARY_ACCOUNT);
        if life::of_agent(&self.paths.agent_socket) != Life::Absent || file.exists() {
            return Ok(());
        }
        // The CA of a try is Ed25519, whatever the real one is.
        if sshd::taken(self.paths, &Algorithm::Ed25519).is_err() {
            let why =
                "the certificate of a try is signed by Ed25519, which its CASignatureAlgorithms leave out";
            return Err(LoginError::Unproved { why: why.to_owned() });
        }
        let (answer, said) = self.by_certificate()?;
        if answer.code != Some(NOT_IN) || !answer.stderr.contains("Permission denied") {
            return Err(LoginError::Open { said });
        }
        let made = self.allow(&file)?;
        let tried = self.by_certificate();
        let gone = safe::remove(&file).map_err(unproved("what sshd was told of it stays"));
        if made {
            drop(fs::remove_dir(&self.paths.principals));
        }
        let (answer, said) = tried?;
        gone?;
        // Our line has asked for the agent, which is not there: nothing has run.
        let told = format!("{}{}", answer.stdout, answer.stderr);
        let is_refused = told.contains("elevate-agent does not answer") && answer.code != Some(0);
        if is_refused { Ok(()) } else { Err(LoginError::Certificate { said }) }
    }

    /// The canary's files: readable where sshd reads as the account that logs in.
    fn lay_out(&self) -> Result<(), LoginError> {
        let broken = |error| unproved("a key cannot be written")(error);
        safe::remove(&self.folder).map_err(unproved("the folder"))?;
        safe::folder(&self.folder, 0o711).map_err(unproved("the folder"))?;
        let public = self.key.public_key().to_openssh().map_err(broken)?;
        let private = self.key.to_openssh(LineEnding::LF).map_err(broken)?;
        let ca = self.ca.public_key().to_openssh().map_err(broken)?;
        let now = clock::read().wall;
        let seconds = |at: elevate_protocol::time::Timestamp| u64::try_from(at.0).unwrap_or_default();
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce).map_err(unproved("no random bytes"))?;
        let (after, before) = (seconds(now.before(LIFE)), seconds(now.after(LIFE)));
        let certificate = || -> Result<String, ssh_key::Error> {
            let mut builder = Builder::new(nonce, self.key.public_key().key_data().clone(), after, before)?;
            builder.cert_type(CertType::User)?.key_id(self.id.to_string())?;
            builder.valid_principal(principal(self.id))?;
            builder.sign(&self.ca)?.to_openssh()
        };
        let files = [
            ("key", private.to_string(), 0o600),
            ("certificate", certificate().map_err(broken)?, 0o644),
            ("ca", ca, 0o644),
            ("allowed", format!("restrict {public}"), 0o644),
        ];
        for (name, text, mode) in files {
            let text = format!("{}\n", text.trim_end());
            safe::write(&self.folder.join(name), &text, mode, Durability::Memory)
                .map_err(unproved("a key cannot be written"))?;
        }
        Ok(())
    }

    /// Tells our program of the canary's grant, for a minute. Whether the folder was made for it.
    fn allow(&self, file: &Path) -> Result<bool, LoginError> {
        let account = nss::in_files(ACCOUNT).ok_or_else(|| missing(ACCOUNT))?;
        let folder = &self.paths.principals;
        let made = !folder.exists();
        safe::folder(folder, 0o750).map_err(unproved("the folder of sshd's answers"))?;
        std::os::unix::fs::chown(folder, None, Some(account.gid)).map_err(unproved("its folder"))?;
        let now = clock::read();
        let ends = (now.wall.after(LIFE), now.boot.after(LIFE).0);
        let entry = Entry::new(self.id, ends, &SshOptions { pty: false, ..SshOptions::default() });
        let written = safe::write(file, &principals::write(&[entry]), 0o644, Durability::Memory);
        written.map(|()| made).map_err(unproved("sshd's answer"))
    }

    fn plain(&self) -> Result<(Answer, String), LoginError> {
        let allowed = format!("AuthorizedKeysFile={}", self.folder.join("allowed").display());
        self.login(&allowed, &["-oCertificateFile=none"])
    }

    fn by_certificate(&self) -> Result<(Answer, String), LoginError> {
        let ca = format!("TrustedUserCAKeys={}", self.folder.join("ca").display());
        let certificate = format!("-oCertificateFile={}", self.folder.join("certificate").display());
        self.login(&ca, &[&certificate])
    }

    /// One login to an sshd of its own: the real program with the real files, one setting of them replaced on its command line, which nobody
    /// else's sshd hears of. It serves one connection, and listens nowhere.
    fn login(&self, setting: &str, options: &[&str]) -> Result<(Answer, String), LoginError> {
        let no_socket = |error| unproved("no connection to this host itself")(error);
        let listener = TcpListener::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).map_err(no_socket)?;
        let address = listener.local_addr().map_err(no_socket)?;
        let (program, setting) = (self.sshd.clone(), setting.to_owned());
        let server = thread::spawn(move || -> Result<Answer, LoginError> {
            let (stream, _) = listener.accept().map_err(unproved("no connection"))?;
            let output = stream.try_clone().map_err(unproved("no connection"))?;
            let child = Command::new(&program)
                .args(["-i", "-e", "-o", &setting])
                .env_clear()
                .current_dir("/")
                .process_group(0)
                .stdin(Stdio::from(OwnedFd::from(stream)))
                .stdout(Stdio::from(OwnedFd::from(output)))
                .stderr(Stdio::piped())
                .spawn()
                .map_err(unproved("sshd does not start"))?;
            child::answer(child, &program, DEADLINE).map_err(unproved("sshd"))
        });
        let (port, key) = (address.port().to_string(), self.folder.join("key").display().to_string());
        let mut arguments = vec!["-F", "none", "-p", &port, "-l", CANARY_ACCOUNT, "-i", &key];
        arguments.extend(OPTIONS);
        arguments.extend(options);
        arguments.extend(["127.0.0.1", "true"]);
        let answer = match child::run(&self.ssh, &arguments, DEADLINE) {
            // A login that hangs is none.
            Err(error @ ChildError::Deadline { .. }) => {
                Answer { code: None, stdout: String::new(), stderr: error.to_string() }
            }
            answer => answer.map_err(unproved("ssh"))?,
        };
        // Where ssh did not come so far, nobody waits for it.
        drop(TcpStream::connect(address));
        let served = match server.join() {
            Ok(Ok(served)) => served.stderr,
            Ok(Err(error)) => error.to_string(),
            Err(_) => String::new(),
        };
        let both = [answer.stderr.trim(), served.trim()];
        let said: Vec<&str> = both.into_iter().filter(|one| !one.is_empty()).collect();
        let said = escape(&said.join(" / "));
        Ok((answer, said))
    }
}

/// Nothing of the person's own files, nothing but the one key, and nobody is asked.
const OPTIONS: [&str; 9] = [
    "-T",
    "-oBatchMode=yes",
    "-oIdentitiesOnly=yes",
    "-oIdentityAgent=none",
    "-oPreferredAuthentications=publickey",
    "-oStrictHostKeyChecking=no",
    "-oUserKnownHostsFile=/dev/null",
    "-oGlobalKnownHostsFile=/dev/null",
    "-oLogLevel=ERROR",
];

/// Whether sshd let it in. What runs then is the account's shell, which may say that there is none.
fn is_in(answer: &Answer) -> bool {
    answer.code.is_some_and(|code| code != NOT_IN && code != 254)
}
