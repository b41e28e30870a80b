//! `elevate cert`: a certificate for SSH under a grant that is there, for `ssh -i`, scp, rsync, git and everything else.
//!
//! In: a file to write, perhaps a public key, perhaps which grant. Out: a certificate, with a key of its own where none was named.
//! Asks for no grant: a script that has none fails at once, with what to type. Spec: docs/cli.md "cert".

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use elevate_protocol::id::IdPrefix;
use elevate_protocol::message::person::{Ask, CertificateAsk, Outcome};
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::message::view::CertificateView;
use elevate_protocol::person_key::{self, KEY_MAX};
use elevate_protocol::text::escape;
use nix::libc;
use serde_json::{Value, json};
use ssh_key::certificate::Certificate;
use ssh_key::private::Ed25519Keypair;
use ssh_key::{LineEnding, PrivateKey, PublicKey};
use zeroize::Zeroizing;

use super::known_hosts::{self, Files};
use super::request::not_expected;
use super::session::Session;
use super::ssh_config;
use crate::args::Cert;
use crate::failure::Failure;
use crate::paint::Line;
use crate::render::json::schema;
use crate::render::when::{rfc3339, until};
use crate::talk::{End, Wait};

/// Longest file of a private key in bytes.
const FILE_MAX: u64 = 64 * 1024;
const HOW: &str = "elevate cert -o FILE, elevate cert -o FILE --key ~/.ssh/id_ed25519.pub";

/// What is certified, and which files there are to be.
struct Plan {
    public: PublicKey,
    /// A key that was made here, to be written beside its certificate.
    fresh: Option<PrivateKey>,
    /// Where the private half is, for `ssh -i`; none: in an ssh-agent, or the person knows.
    key: Option<PathBuf>,
    certificate: PathBuf,
}

/// `elevate cert`.
pub(super) fn cert(session: &mut Session, words: &Cert) -> Result<u8, Failure> {
    let ask = |key| -> Result<CertificateAsk, Failure> {
        let (grant, role) = match &words.which {
            None => (None, None),
            Some(word) if IdPrefix::looks_like(word) => (word.parse().ok(), None),
            Some(word) => {
                let role = word
                    .parse()
                    .map_err(|_| Failure::usage(format!("{} is no role and no grant", escape(word)), HOW))?;
                (None, Some(role))
            }
        };
        let (host, login) = (words.host.clone(), words.login.clone());
        Ok(CertificateAsk { key, grant, role, host, login, agentless: words.agentless })
    };
    let plan = Plan::new(words)?;
    let end = session.ask(&Ask::Certificate(ask(bare(&plan.public)?)?), Wait::Machines)?;
    let End::Done(Outcome::Certificate(view)) = end else { return Err(not_expected(end)) };
    fits(&view, &plan.public)?;
    plan.write(&view)?;
    let known = known(session, &view).unwrap_or_else(|failure| {
        let why = escape(&failure.refusal().message);
        session.console.warn(&Line::plain(&format!("warning: ssh will ask whether it is the host: {why}")));
        None
    });
    tell(session, &view, &plan, known.as_ref());
    Ok(0)
}

/// The files by which ssh knows these hosts, looked after; none: a machine without agent, or no daemon of one's own to ask.
fn known(session: &mut Session, view: &CertificateView) -> Result<Option<Files<String>>, Failure> {
    if names_accounts(view) || session.daemon()?.is_none() {
        return Ok(None);
    }
    let files = known_hosts::files(session)?;
    let believed = known_hosts::ask(session)?;
    known_hosts::keep(&files, &view.hosts, &believed)?;
    ssh_config::shown(&files).map(Some)
}

/// What it names are accounts: it is for machines without agent.
fn names_accounts(view: &CertificateView) -> bool {
    view.principals.iter().all(|one| view.logins.iter().any(|login| login.as_str() == one))
}

impl Plan {
    fn new(words: &Cert) -> Result<Self, Failure> {
        let file = words.output.clone();
        if file.file_name().is_none() {
            return Err(Failure::usage("a file to write is missing", HOW));
        }
        if let Some(path) = &words.key {
            let public = public_key(path)?;
            let key = Some(path.with_extension(""))
                .filter(|key| path.extension().is_some_and(|end| end == "pub") && key.is_file());
            return Ok(Self { public, fresh: None, key, certificate: file });
        }
        let certificate = beside(&file, "-cert.pub");
        match existing(&file)? {
            // The key of the certificate before: only the certificate is new.
            Some(public) => Ok(Self { public, fresh: None, key: Some(file), certificate }),
            None => {
                let fresh = fresh_key()?;
                let public = fresh.public_key().clone();
                Ok(Self { public, fresh: Some(fresh), key: Some(file), certificate })
            }
        }
    }

    fn write(&self, view: &CertificateView) -> Result<(), Failure> {
        if let (Some(key), Some(path)) = (&self.fresh, &self.key) {
            write_key(path, key)?;
        }
        write_certificate(&self.certificate, &view.certificate)
    }
}

/// Never over another key.
pub(super) fn write_key(path: &Path, key: &PrivateKey) -> Result<(), Failure> {
    let text = key.to_openssh(LineEnding::LF).map_err(unwritable)?;
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = made.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(|error| cannot("write", path, &error))
}

/// In the place of the one before: ssh(1) finds the whole of one or the other.
pub(super) fn write_certificate(path: &Path, line: &str) -> Result<(), Failure> {
    write_whole(path, format!("{line}\n").as_bytes())
}

/// The same, of bytes as they are.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let fresh = beside(path, &format!(".{}", std::process::id()));
    let made = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&fresh);
    let written = made
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&fresh, path));
    written.map_err(|error| {
        drop(std::fs::remove_file(&fresh));
        cannot("write", path, &error)
    })
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    PathBuf::from(name)
}

/// The person's own public key.
fn public_key(path: &Path) -> Result<PublicKey, Failure> {
    let file = File::open(path).map_err(|error| cannot("read", path, &error))?;
    let mut text = String::new();
    let most = u64::try_from(KEY_MAX).unwrap_or(u64::MAX).saturating_add(2);
    file.take(most).read_to_string(&mut text).map_err(|error| cannot("read", path, &error))?;
    person_key::parse(text.trim_end()).map_err(|error| {
        let message = format!("{}: {error}", escape(&path.display().to_string()));
        Failure::usage(message, "--key takes the .pub file of a key, or leave it out for a fresh one")
    })
}

/// The public half of the private key that is there already; none: nothing is there.
pub(super) fn existing(path: &Path) -> Result<Option<PublicKey>, Failure> {
    let open = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = match open {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot("read", path, &error)),
    };
    let about = file.metadata().map_err(|error| cannot("read", path, &error))?;
    let mut text = Zeroizing::new(String::new());
    file.take(FILE_MAX).read_to_string(&mut text).map_err(|error| cannot("read", path, &error))?;
    let shown = escape(&path.display().to_string());
    let other = || Failure::usage(format!("{shown} is there and is no private key; it stays as it is"), HOW);
    let key = PrivateKey::from_openssh(text.as_str()).map_err(|_| other())?;
    if about.mode() & 0o077 != 0 {
        return Err(Failure::usage(format!("others can read the key {shown}"), format!("chmod 600 {shown}")));
    }
    Ok(Some(key.public_key().clone()))
}

/// A key as it is asked about: without its comment.
pub(super) fn bare(key: &PublicKey) -> Result<String, Failure> {
    PublicKey::new(key.key_data().clone(), "").to_openssh().map_err(unwritable)
}

/// What came is a certificate of this key.
pub(super) fn fits(view: &CertificateView, key: &PublicKey) -> Result<(), Failure> {
    let read = Certificate::from_openssh(&view.certificate);
    if read.is_ok_and(|one| one.public_key() == key.key_data() && !view.certificate.contains('\n')) {
        return Ok(());
    }
    let message = "what the daemon sent is no certificate of this key; nothing was written";
    Err(Failure::Refused(Refusal::new(Code::Integrity, message)))
}

fn tell(session: &mut Session, view: &CertificateView, plan: &Plan, known: Option<&Files<String>>) {
    let at = session.at();
    if session.common.quiet && !session.scripted() {
        session.console.data(&Line::plain(&format!("G-{}", view.id)));
        return;
    }
    let file = escape(&plan.certificate.display().to_string());
    let agentless = names_accounts(view);
    let (logins, hosts) = if agentless {
        (view.principals.join(", "), "machines without agent".to_owned())
    } else {
        (joined(&view.logins), joined(&view.hosts))
    };
    let line = format!(
        "{file}: G-{} ({}) opens {} on {} until {}",
        escape(&view.short),
        view.role,
        escape(&logins),
        hosts,
        until(view.valid_before, &at),
    );
    session.show(&value(view, plan, known, view.ends_at.since(at.now).0), &[Line::plain(&line)]);
    let (Some(login), Some(host)) = (view.logins.first(), view.hosts.first()) else { return };
    let (login, place) = match (agentless, view.principals.first()) {
        (true, Some(login)) => (escape(login), "MACHINE".to_owned()),
        (_, _) => (login.to_string(), host.to_string()),
    };
    let key = plan.key.as_deref();
    let identity = key.map(|key| format!(" -i {}", escape(&key.display().to_string()))).unwrap_or_default();
    // ssh finds by itself what lies beside the key under its name.
    let lies_beside = key.is_some_and(|key| plan.certificate == beside(key, "-cert.pub"));
    let how = if lies_beside { String::new() } else { format!(" -o CertificateFile={file}") };
    let by = known.map(|files| format!(" {}", known_hosts::typed(files, host))).unwrap_or_default();
    session.console.say(&Line::plain(&format!("Use: ssh{identity}{how}{by} {login}@{place}")));
}

fn joined<T: ToString>(all: &[T]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn value(view: &CertificateView, plan: &Plan, known: Option<&Files<String>>, left: u32) -> Value {
    let path = |path: &Path| path.to_str().map(ToOwned::to_owned);
    schema(
        "certificate",
        json!({
            "id": format!("G-{}", view.id),
            "short": format!("G-{}", view.short),
            "role": view.role,
            "hosts": view.hosts,
            "logins": view.logins,
            "certificate": view.certificate,
            "certificate_file": path(&plan.certificate),
            "key_file": plan.key.as_deref().and_then(path),
            "known_hosts_file": known.map(|files| &files.lines),
            "revoked_hosts_file": known.map(|files| &files.revoked),
            "serial": view.serial,
            "fingerprint": view.fingerprint,
            "principals": view.principals,
            "valid_after": rfc3339(view.valid_after),
            "valid_before": rfc3339(view.valid_before),
            "ends_at": rfc3339(view.ends_at),
            "seconds_left": left,
        }),
    )
}

/// A key of one certificate alone.
pub(super) fn fresh_key() -> Result<PrivateKey, Failure> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(|error| system("get random bytes", io::Error::other(error)))?;
    Ok(PrivateKey::from(Ed25519Keypair::from_seed(&seed)))
}

pub(super) fn unwritable(error: ssh_key::Error) -> Failure {
    system("write a key", io::Error::other(error))
}

pub(super) fn system(what: &'static str, source: io::Error) -> Failure {
    Failure::System { what, source }
}

pub(super) fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    let shown = escape(&path.display().to_string());
    Failure::Refused(Refusal::new(Code::Internal, format!("cannot {what} {shown}: {error}")))
}

#[cfg(test)]
#[path = "cert_tests.rs"]
mod tests;
