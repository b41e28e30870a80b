//! The keys that sshd shows on this host, and the certificates for them that lie in our folder.
//!
//! In: `sshd -T`, public halves of host keys (a private key is never opened), certificates. Out: what there is, what sshd is told of it, and
//! certificates in the place of those before, once they are verified. Runs as: root. Blocks. Threats E02, E17, E19, E20.

use std::path::{Path, PathBuf};

use elevate_protocol::host_ssh::{
    HOST_RENEWAL, HostKey, HostName, HostNames, HostProof, HostProofError, prove_host,
};
use elevate_protocol::id::HostId;
use elevate_protocol::ssh::Ca;
use elevate_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use ssh_key::public::KeyData;
use ssh_key::{Certificate, HashAlg, PublicKey};

use crate::enrol::ssh::{self as sshd_service, SshError};
use crate::paths::Paths;
use crate::safe::{self, Durability, SafeError};
use crate::sshd;

const FILE_MAX: u64 = 64 * 1024;
/// Mode of what sshd reads.
const MODE: u32 = 0o644;

/// Why a host has no certificates, or not those that came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostKeysError {
    /// sshd.
    #[error("sshd cannot be asked for its keys, or does not take its files")]
    Sshd(#[from] SshError),
    /// What came proves nothing.
    #[error("no certificate that came is one for the key {fingerprint}: {why}")]
    Proof {
        /// Of the host's key.
        fingerprint: String,
        /// Of the one that came nearest.
        why: HostProofError,
    },
    /// It is somebody else's.
    #[error("the certificate that came is for {name} ({host}), not for this host")]
    Name {
        /// Its first name.
        name: HostName,
        /// Its key id.
        host: HostId,
    },
    /// A file.
    #[error("a certificate cannot be written")]
    File(#[from] SafeError),
}

/// A key of sshd's, and what lies here for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    /// The public half.
    pub(crate) key: HostKey,
    /// Where its certificate is.
    pub(crate) place: PathBuf,
    /// What that proves; none: it is not there, or proves nothing now.
    pub(crate) proof: Option<HostProof>,
}

/// What people see of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostCertificate {
    /// Of the key.
    pub(crate) fingerprint: String,
    /// The names that it is good for; none: there is no certificate, or one that is over.
    pub(crate) names: Option<HostNames>,
    /// First second that is too late.
    pub(crate) until: Option<Timestamp>,
}

impl Shown {
    /// Whether another certificate is wanted: there is none, or it says something else, or it is a week old.
    pub(crate) fn wants(&self, (names, ca): &(HostNames, Ca), now: Timestamp) -> bool {
        let by = PublicKey::from_openssh(ca.as_str()).map(|key| key.fingerprint(HashAlg::Sha256));
        !self.proof.as_ref().is_some_and(|proof| {
            proof.names == *names
                && by.as_ref() == Ok(&proof.by)
                && proof.valid_after <= now
                && now < proof.valid_after.after(HOST_RENEWAL)
        })
    }

    /// For `status`.
    pub(crate) fn told(&self) -> HostCertificate {
        let proof = self.proof.as_ref();
        HostCertificate {
            fingerprint: self.key.fingerprint(),
            names: proof.map(|proof| proof.names.clone()),
            until: proof.map(|proof| proof.valid_before),
        }
    }
}

/// Where the certificate of a kind of key lies; sshd shows one key of each kind.
fn place_of(paths: &Paths, key: &HostKey) -> PathBuf {
    // No other kind is a host's key here.
    let kind = match key.key().key_data() {
        KeyData::Ecdsa(_) => "ecdsa",
        KeyData::Rsa(_) => "rsa",
        KeyData::Ed25519(_)
        | KeyData::Dsa(_)
        | KeyData::SkEcdsaSha2NistP256(_)
        | KeyData::SkEd25519(_)
        | KeyData::Certificate(_)
        | KeyData::Other(_)
        | _ => "ed25519",
    };
    paths.host_certificates.join(format!("ssh_host_{kind}_key-cert.pub"))
}

/// The keys that sshd shows, by what `sshd -T` says: of each kind the first whose public half can be read and is good enough.
#[must_use]
pub(crate) fn keys(paths: &Paths, settings: &str) -> Vec<(HostKey, PathBuf)> {
    let mut keys: Vec<(HostKey, PathBuf)> = Vec::new();
    for file in settings.lines().filter_map(|line| line.strip_prefix("hostkey ")) {
        // Behind an agent of sshd's (HostKeyAgent) the file named may be the public half itself.
        let public =
            if file.ends_with(".pub") { PathBuf::from(file) } else { PathBuf::from(format!("{file}.pub")) };
        let text = safe::read(&public, FILE_MAX).unwrap_or_default();
        let Ok(key) = HostKey::of_file(text.trim_end()) else { continue };
        let place = place_of(paths, &key);
        if !keys.iter().any(|(_, other)| *other == place) {
            keys.push((key, place));
        }
    }
    keys
}

/// The lines of our file among sshd's, for these keys.
#[must_use]
pub(crate) fn lines(keys: &[(HostKey, PathBuf)]) -> String {
    keys.iter().map(|(_, place)| format!("HostCertificate {}\n", place.display())).collect()
}

/// A text of sshd's without such lines of ours.
#[must_use]
pub(crate) fn without_lines(paths: &Paths, text: &str) -> String {
    let ours = format!("HostCertificate {}/", paths.host_certificates.display());
    text.split_inclusive('\n').filter(|line| !line.starts_with(&ours)).collect()
}

/// The certificates that sshd is told of by somebody else.
pub(crate) fn foreign<'a>(paths: &Paths, settings: &'a str) -> impl Iterator<Item = &'a str> {
    let of_sshd = settings.lines().filter_map(|line| line.strip_prefix("hostcertificate "));
    of_sshd.filter(|file| !Path::new(file).starts_with(&paths.host_certificates) && *file != "none")
}

/// The keys that sign certificates of hosts, as pinned here.
#[must_use]
pub(crate) fn cas(paths: &Paths) -> Vec<PublicKey> {
    let text = safe::read(&paths.host_ca, FILE_MAX).unwrap_or_default();
    text.lines().filter_map(|line| PublicKey::from_openssh(line).ok()).collect()
}

/// Whether this key is pinned here.
#[must_use]
pub(crate) fn is_pinned(paths: &Paths, ca: &Ca) -> bool {
    safe::read(&paths.host_ca, FILE_MAX).is_ok_and(|text| text.lines().any(|line| line == ca.as_str()))
}

/// What there is.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The keys that sshd is to show a certificate of ours for.
    pub(crate) shown: Vec<Shown>,
    /// Somebody else's certificate for one of them, which sshd shows in the place of ours.
    pub(crate) clash: Option<String>,
}

/// What that means.
#[must_use]
pub(crate) fn clashes(file: &str) -> String {
    format!(
        "sshd is told of {file} after ours, for the same key: people who log in are shown that one, and may refuse this host"
    )
}

/// Looks at everything. Where sshd was told of certificates by somebody else before the enrolment, nothing is shown.
///
/// # Errors
/// [`HostKeysError::Sshd`].
pub(crate) fn look(paths: &Paths, (own, now): (HostId, Timestamp)) -> Result<Found, HostKeysError> {
    // A host whose sshd is not ours to set up gets none: nobody would see them.
    if !safe::read(&paths.sshd_file, FILE_MAX).is_ok_and(|text| sshd::is_ours(&text)) {
        return Ok(Found::default());
    }
    let settings = sshd_service::settings()?;
    let cas = cas(paths);
    let told: Vec<_> = settings.lines().filter_map(|line| line.strip_prefix("hostcertificate ")).collect();
    let last = |file: &Path| told.iter().rposition(|one| Path::new(one) == file);
    let ours = keys(paths, &settings).into_iter().filter(|(_, place)| last(place).is_some());
    let shown = ours.map(|(key, place)| {
        let text = safe::read(&place, FILE_MAX).unwrap_or_default();
        // One that was for the host that this one was before is none: people's ssh refuses it.
        let proof = prove_host(text.trim_end(), &key, (&cas, now)).ok().filter(|proof| proof.host == own);
        Shown { key, place, proof }
    });
    let shown: Vec<Shown> = shown.collect();
    let clash = foreign(paths, &settings).find(|file| {
        let text = safe::read(Path::new(file), FILE_MAX).unwrap_or_default();
        let Ok(of) = Certificate::from_openssh(text.trim_end()) else { return false };
        // Of several for one key sshd shows the last.
        let hides = |one: &Shown| last(Path::new(file)) > last(&one.place);
        shown.iter().any(|one| one.key.key().key_data() == of.public_key() && hides(one))
    });
    Ok(Found { clash: clash.map(ToOwned::to_owned), shown })
}

/// Puts certificates in the place of those before, and lets sshd know.
///
/// # Errors
/// [`HostKeysError`]; where a certificate is not what it should be none is changed.
pub(crate) fn install(
    paths: &Paths,
    (shown, certificates): (&[Shown], &[String]),
    (own, now): ((HostId, &str), Timestamp),
) -> Result<(), HostKeysError> {
    let cas = cas(paths);
    let mut wanted = Vec::new();
    for one in shown {
        let (line, proof) = fitting(&one.key, certificates, (&cas, own, now))?;
        let before = safe::read(&one.place, FILE_MAX).unwrap_or_default();
        let before = prove_host(before.trim_end(), &one.key, (&cas, now)).ok();
        let before = before.filter(|before| before.host == own.0);
        if before.is_none_or(|before| is_better(&proof, &before)) {
            wanted.push((&one.place, line));
        }
    }
    let differs = |(place, line): &(&PathBuf, &String)| !safe::is_exactly(place, &format!("{line}\n"), MODE);
    if wanted.iter().any(differs) {
        safe::folder(&paths.host_certificates, 0o755)?;
        if !sshd_service::looks_each_time() {
            // An agent that ends in between finds it, and tells sshd.
            safe::write(&paths.sshd_stale, "", 0o600, Durability::Memory)?;
        }
    }
    for (place, line) in wanted.into_iter().filter(differs) {
        safe::write(place, &format!("{line}\n"), MODE, Durability::Disk)?;
    }
    settle(paths)
}

/// Lets sshd know of certificates that it may not have read. Connections that are there stay.
///
/// # Errors
/// [`HostKeysError::Sshd`]; it is tried again then.
pub(crate) fn settle(paths: &Paths) -> Result<(), HostKeysError> {
    if !paths.sshd_stale.exists() {
        return Ok(());
    }
    sshd_service::read_anew()?;
    Ok(safe::remove(&paths.sshd_stale)?)
}

/// Whether one is worth that sshd is told of it. What was signed before the one that is here, or says the same, is not.
fn is_better(new: &HostProof, before: &HostProof) -> bool {
    let same = new.names == before.names && new.by == before.by;
    // The very same is written anew where its file is not as it was.
    new.serial == before.serial
        || new.valid_after > before.valid_after
        || (new.valid_after == before.valid_after && !same)
}

fn fitting<'a>(
    key: &HostKey,
    certificates: &'a [String],
    (cas, (own, own_name), now): (&[PublicKey], (HostId, &str), Timestamp),
) -> Result<(&'a String, HostProof), HostKeysError> {
    let mut nearest = HostProofError::Key;
    for line in certificates {
        match prove_host(line, key, (cas, now)) {
            Ok(proof) => match proof.names.all().first() {
                Some(name) if proof.host != own || name.as_str() != own_name => {
                    return Err(HostKeysError::Name { name: name.clone(), host: proof.host });
                }
                Some(_) | None => return Ok((line, proof)),
            },
            Err(HostProofError::Key) => {}
            Err(why) => nearest = why,
        }
    }
    Err(HostKeysError::Proof { fingerprint: key.fingerprint(), why: nearest })
}

#[cfg(test)]
#[path = "host_keys_tests.rs"]
mod tests;
