//! `elevate-agent enroll`, step by step: look, say, ask, change, prove, enrol, start; or put everything back.
//!
//! In: the paste string. Out: an enrolled host, or the host as it was, byte for byte. The daemon is asked only after the proof, so
//! that a token is not used up for a host that cannot enforce. Spec: docs/architecture.md "On the host".

use elevate_protocol::id::{ActivationId, HostId};
use elevate_protocol::message::enrol::{EnrolTask, Enrolled};
use elevate_protocol::name::Name;
use elevate_protocol::paste::Paste;
use elevate_protocol::secret::Secret;
use elevate_protocol::signed::{SignedBody, TrustedKeys, VOUCH_NAMESPACE};
use nix::sys::signal::{SigSet, Signal};
use ssh_key::private::Ed25519Keypair;
use ssh_key::{LineEnding, PrivateKey};

use crate::clock;
use crate::config::{self, Config};
use crate::flavour::Sudo;
use crate::journal;
use crate::paths::Paths;
use crate::probe::{self, ProbeError, SERVICES};
use crate::sshd;
use crate::store::position::{Position, PositionError};
use crate::sudoers_files;

use super::again;
use super::canary::{Canaries, CanaryError, Signer};
use super::changes::{self, ChangeError, Changes};
use super::checks::{self, CheckError, LINK_ACCOUNT, Site};
use super::input::{self, InputError};
use super::leftovers::{self, LeftoverError};
use super::link::{self, LinkError};
use super::pam_lines::{self, PamLinesError, Service};
use super::rs_lines;
use super::say;
use super::services::{self, Services};
use super::ssh;
use crate::args::EnrollArguments;

/// Why the host is not enrolled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnrolError {
    /// Something is missing.
    #[error("this host cannot be enrolled yet")]
    Check(#[from] CheckError),
    /// What was given.
    #[error("not enrolled")]
    Input(#[from] InputError),
    /// An enrolled host, and the paste string of something else.
    #[error(
        "this host is enrolled already as {name} with the daemon at {daemon}, and not with this paste string; nothing was changed"
    )]
    Another {
        /// Its name.
        name: Name,
        /// Where its daemon is.
        daemon: String,
    },
    /// What an earlier attempt left.
    #[error("what an earlier enrolment left cannot be removed")]
    Leftover(#[from] LeftoverError),
    /// A change.
    #[error("a file could not be changed")]
    Change(#[from] ChangeError),
    /// The lines of a PAM service.
    #[error("/etc/pam.d/{service} cannot be changed")]
    Lines {
        /// The service.
        service: &'static str,
        /// Why.
        source: PamLinesError,
    },
    /// The proof failed.
    #[error("the proof failed")]
    Canary(#[from] CanaryError),
    /// The daemon.
    #[error("the daemon did not enrol this host")]
    Link(#[from] LinkError),
    /// A key or a file has no text form, or there is no randomness.
    #[error("cannot make {what}")]
    Make {
        /// What.
        what: &'static str,
    },
    /// The place in the log.
    #[error("the place in the host's log cannot be written")]
    Position(#[from] PositionError),
    /// What the agent will say when it starts.
    #[error("the agent would not enforce here")]
    Probe(#[from] ProbeError),
}

impl EnrolError {
    /// What to type.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Check(error) => error.hint(),
            Self::Input(InputError::CommandLine) => Some(
                "make another one with `elevatectl host invite`, then: elevate-agent enroll --file FILE, or give it on standard input",
            ),
            Self::Input(InputError::NotConfirmed) => Some("try it, then: elevate-agent enroll --yes"),
            Self::Another { .. } => Some(
                "to enrol it anew with this paste string, first: elevate-agent unenroll. Its grants end by that",
            ),
            Self::Link(_) => Some("a paste string works once and for an hour: elevatectl host invite"),
            Self::Input(_) | Self::Leftover(_) | Self::Change(_) | Self::Lines { .. } | Self::Canary(_) => {
                None
            }
            Self::Make { .. } | Self::Position(_) | Self::Probe(_) => None,
        }
    }
}

/// Enrols this host.
///
/// # Errors
/// An [`EnrolError`]; everything is then as it was, or what is not has been said.
pub(crate) fn enroll(paths: &Paths, arguments: EnrollArguments) -> Result<(), EnrolError> {
    let EnrollArguments { file, yes, no_services, words } = arguments;
    if !words.is_empty() {
        return Err(InputError::CommandLine.into());
    }
    checks::root(paths)?;
    if let Ok(identity) = config::load(paths) {
        return again::enroll(paths, &identity.config, file.as_deref());
    }
    let site = checks::site(paths)?;
    let paste = input::paste(file.as_deref(), &words)?;
    announce(paths, &site, &paste);
    warn_of_switches(paths);
    if !yes {
        input::confirm()?;
    }
    // A key on the terminal or a hang-up must not leave half of it: they are looked at afterwards.
    let enrolled = holding_signals(|| change(paths, &site, &paste))?;
    holding_signals(|| ssh::set_up(paths));
    say(&format!("Enrolled: this host is {}, id {}.", enrolled.name, enrolled.host));
    if no_services {
        say("Start them when you like: systemctl enable --now elevate-agent elevate-link");
    } else {
        start();
    }
    Ok(())
}

fn announce(paths: &Paths, site: &Site, paste: &Paste) {
    say(&format!("This will enrol this host with the daemon at {} ({}).", paste.address, paste.fingerprint));
    say(&format!("sudo here: {}", site.sudo_line));
    for note in &site.notes {
        say(&format!("  note: {note}"));
    }
    say("What is changed:");
    say("  /etc/elevate/              configuration, trust, a new key of this host");
    say(&format!("  {}  one line: sudo also reads /run/elevate/sudoers.d", include_shown(site)));
    say("  /etc/pam.d/sudo, sudo-i    three lines at the top, between markers");
    match sshd::possible(paths) {
        Ok(_) => {
            say(&format!("  {}  sshd asks which certificates open an account", paths.sshd_file.display()));
            say(&format!("  {}    sshd's list of revoked certificates", paths.revoked.display()));
            say(
                "  /etc/pam.d/sshd            one line at the top, between markers: connections end with their grant",
            );
        }
        Err(error) => say(&format!("  (sshd is not changed: {error})")),
    }
    say(
        "Then it is proved that root's sudo, an ordinary rule, a managed rule and logins to sshd behave. If not, everything is put back.",
    );
}

fn include_shown(site: &Site) -> String {
    probe::include_place(&Paths::below(std::path::Path::new("/")), site.dialect).display().to_string()
}

/// The canaries cannot prove what holds for other accounts only.
fn warn_of_switches(paths: &Paths) {
    // What cannot be looked into is what the probe at the end refuses.
    for switch in sudoers_files::switches(&paths.root).unwrap_or_default() {
        let place = format!("{}:{}", switch.file.display(), switch.line);
        say(&format!("WARNING: {place}: `{}` lets sudo pass by the gate for whom it is set", switch.option));
        if switch.passes_by_the_gate() {
            say("         No managed rule is installed on this host while it stands there.");
        }
    }
}

pub(super) fn holding_signals<T>(work: impl FnOnce() -> T) -> T {
    let mut held = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
        held.add(signal);
    }
    // Children get an empty mask from the standard library. Where the kernel refuses, a signal does what it always does.
    let blocked = held.thread_block().is_ok();
    let result = work();
    if blocked && held.thread_unblock().is_err() {
        say("signals stay blocked until this program ends");
    }
    result
}

/// Makes all changes, or none.
fn change(paths: &Paths, site: &Site, paste: &Paste) -> Result<Enrolled, EnrolError> {
    leftovers::sweep(paths, site.canary.uid)?;
    let mut changes = Changes::default();
    match steps(paths, site, paste, &mut changes) {
        Ok(enrolled) => {
            changes.keep();
            Ok(enrolled)
        }
        Err(error) => {
            match changes.undo() {
                Ok(()) => say("Everything was put back as it was."),
                Err(errors) => {
                    for error in errors {
                        say(&format!("NOT put back: {}", journal::chain(&error)));
                    }
                }
            }
            Err(error)
        }
    }
}

fn steps(paths: &Paths, site: &Site, paste: &Paste, changes: &mut Changes) -> Result<Enrolled, EnrolError> {
    say("Trying sudo as it is …");
    let canaries = Canaries::before(paths, site, changes)?;
    let (vouch, canary_key) = (new_key()?, new_key()?);
    let host = HostId::from_random(random()?);
    folders(paths, site, &canaries, changes)?;
    let vouch_text =
        vouch.to_openssh(LineEnding::LF).map_err(|_| EnrolError::Make { what: "the vouch key" })?;
    changes.write(&paths.vouch_key, &vouch_text, 0o600)?;
    let signers =
        TrustedKeys::one(canary_key.public_key().clone()).ok().and_then(|keys| keys.to_signers().ok());
    changes.write(
        &paths.grant_signers,
        &signers.ok_or(EnrolError::Make { what: "the signers file" })?,
        0o644,
    )?;
    changes.write(&paths.config, &format!("{}host = \"{host}\"\n", leftovers::CANARY_CONFIG), 0o644)?;
    include(paths, site, changes)?;
    gate(paths, changes)?;
    say("Trying root, an ordinary rule and a managed rule …");
    let id = ActivationId::from_random(random()?);
    canaries.after(&Signer { key: &canary_key, host, id, now: clock::read().wall }, changes)?;
    say("Asking the daemon …");
    let enrolled = link::enrol(&site.link, site.link_account, &task(paste, &vouch)?)?;
    identity(paths, paste, &enrolled, changes)?;
    probe::enforcement(paths, &Sudo::ask())?;
    Ok(enrolled)
}

fn folders(
    paths: &Paths,
    site: &Site,
    canaries: &Canaries<'_>,
    changes: &mut Changes,
) -> Result<(), EnrolError> {
    let etc = paths.config.with_file_name("");
    for (path, mode) in [(&etc, 0o755), (&paths.trust, 0o755), (&paths.keys, 0o700), (&paths.state, 0o700)] {
        changes.folder(path, mode)?;
    }
    for (path, mode) in [(&paths.run, 0o755), (&paths.sudoers, 0o755), (&paths.grants, 0o700)] {
        changes.folder(path, mode)?;
    }
    changes.folder(&canaries.grants(), 0o700)?;
    let own = link_folder(paths);
    changes.folder(&own, 0o700)?;
    let account = site.link_account;
    std::os::unix::fs::chown(&own, Some(account.uid), Some(account.gid)).map_err(|source| {
        ChangeError::Io { what: "give the folder to elevate-link:", path: own.clone(), source }
    })?;
    changes.expect(&own.join("key"));
    Ok(())
}

/// The folder of the link's own key.
pub(crate) fn link_folder(paths: &Paths) -> std::path::PathBuf {
    paths.state.with_file_name(LINK_ACCOUNT)
}

/// Our line where the installed sudo reads it. The canary's rule stands beside it until it was tried.
pub(super) fn include(paths: &Paths, site: &Site, changes: &mut Changes) -> Result<(), ChangeError> {
    let place = probe::include_place(paths, site.dialect);
    if place != paths.sudoers_rs {
        return changes.write(place, &leftovers::include_text(), 0o440);
    }
    let stood = changes::read(place)?;
    let rules = stood.as_ref().and_then(changes::Stood::text).and_then(rs_lines::inner).unwrap_or_default();
    rs_lines::put(place, &format!("{rules}{}", leftovers::include_text()), changes)
}

/// Our lines in both PAM services.
pub(super) fn gate(paths: &Paths, changes: &mut Changes) -> Result<(), EnrolError> {
    for service in SERVICES {
        let path = paths.pam_services.join(service);
        let stood = changes::read(&path)?.ok_or_else(|| CheckError::NoService { path: path.clone() })?;
        let text = stood.text().ok_or(EnrolError::Lines { service, source: PamLinesError::Damaged })?;
        let with =
            pam_lines::with(text, Service::Sudo).map_err(|source| EnrolError::Lines { service, source })?;
        changes.write(&path, &with, 0o644)?;
    }
    Ok(())
}

fn task(paste: &Paste, vouch: &PrivateKey) -> Result<EnrolTask, EnrolError> {
    let broken = |what| EnrolError::Make { what };
    let token = paste.token.clone().ok_or(broken("the request: the paste string has no token"))?;
    let signed = SignedBody::sign(token.expose().to_owned(), vouch, VOUCH_NAMESPACE);
    let SignedBody { body, signature } = signed.map_err(|_| broken("the proof of the vouch key"))?;
    drop(Secret::new(body));
    Ok(EnrolTask {
        address: paste.address.clone(),
        fingerprint: paste.fingerprint.clone(),
        token,
        vouch_key: vouch.public_key().to_openssh().map_err(|_| broken("the public half of the vouch key"))?,
        vouch_proof: signature,
    })
}

/// Who this host is from now on. The configuration is written last: it is what says that the host is enrolled.
fn identity(
    paths: &Paths,
    paste: &Paste,
    enrolled: &Enrolled,
    changes: &mut Changes,
) -> Result<(), EnrolError> {
    let config = Config {
        daemon: paste.address.clone(),
        fingerprint: paste.fingerprint.clone(),
        host: enrolled.host,
        name: enrolled.name.clone(),
        cluster: enrolled.cluster,
        paste: Some(again::mark(paste)),
        link_user: LINK_ACCOUNT.parse().map_err(|_| EnrolError::Make { what: "agent.toml" })?,
    };
    let text = toml::to_string(&config).map_err(|_| EnrolError::Make { what: "agent.toml" })?;
    changes.expect(&paths.position);
    Position::begin(enrolled.epoch, clock::read().wall).save(paths)?;
    // A word about the log of another enrolment is none about this one's.
    changes.remove(&paths.epoch)?;
    changes.write(&paths.grant_signers, &enrolled.grant_signers, 0o644)?;
    changes.write(&paths.user_ca, &enrolled.user_ca.to_file(), 0o644)?;
    changes.write(&paths.host_ca, &enrolled.host_ca.to_file(), 0o644)?;
    changes.write(&paths.config, &format!("# Written by elevate-agent enroll.\n{text}"), 0o644)?;
    Ok(())
}

fn random<const N: usize>() -> Result<[u8; N], EnrolError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| EnrolError::Make { what: "a random number" })?;
    Ok(bytes)
}

fn new_key() -> Result<PrivateKey, EnrolError> {
    Ok(PrivateKey::from(Ed25519Keypair::from_seed(&random()?)))
}

fn start() {
    match services::start() {
        Services::Done => say("elevate-agent and elevate-link are running and start with the host."),
        Services::NoSystemd => say(
            "systemd does not run here: start `elevate-agent run`, and `elevate-link run` as elevate-link.",
        ),
        Services::Failed(said) => say(&format!(
            "The services did not start: {said}. See: journalctl -u elevate-agent -u elevate-link"
        )),
    }
}
