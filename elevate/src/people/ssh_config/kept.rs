//! What is kept between logins: one key, the certificates of my grants, and which of them opens which door.
//!
//! In: certificates as they come. Out: files in a folder of the person's own, mode 0700: `key`; of each grant `ID.json` (what it opens, and
//! by its time when that was last known to be so) and `ID-cert.pub`; of each door `LOGIN@HOST-cert.pub`, a link to one of these.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use elevate_protocol::id::ActivationId;
use elevate_protocol::message::view::CertificateView;
use elevate_protocol::text::escape;
use elevate_protocol::time::Timestamp;
use nix::fcntl::{Flock, FlockArg};
use nix::libc;
use nix::unistd::Uid;
use ssh_key::{HashAlg, PublicKey};

use super::super::cert::{cannot, existing, fresh_key, system, write_certificate, write_key};
use super::Place;
use crate::failure::Failure;

/// Longest `ID.json` in bytes.
const VIEW_MAX: u64 = 1 << 20;

/// The folder.
pub(super) struct Kept {
    folder: PathBuf,
}

/// A certificate that is kept.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) view: CertificateView,
    /// When the daemon last said that its grant lives.
    pub(super) seen: SystemTime,
}

impl Known {
    /// Whether it opens a door, and goes on doing so for a while.
    pub(super) fn opens(&self, place: &Place, until: Timestamp) -> bool {
        let Self { view, .. } = self;
        view.hosts.contains(&place.host) && view.logins.contains(&place.login) && until < view.valid_before
    }

    /// How long ago the daemon said so. A time to come is no answer.
    pub(super) fn age(&self, now: SystemTime) -> Option<Duration> {
        now.duration_since(self.seen).ok()
    }
}

impl Kept {
    /// The folder, made where it is not there.
    pub(super) fn open(folder: &Path, uid: Uid) -> Result<Self, Failure> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|error| cannot("make", folder, &error))?;
        let about = std::fs::symlink_metadata(folder).map_err(|error| cannot("read", folder, &error))?;
        if !about.is_dir() || about.uid() != uid.as_raw() || about.mode() & 0o077 != 0 {
            let shown = escape(&folder.display().to_string());
            return Err(Failure::usage(
                format!("{shown} is no folder that is only yours"),
                format!("take it away, or: chmod 700 {shown}"),
            ));
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// One at a time asks the daemon; whoever waited finds what the first one got.
    pub(super) fn alone(&self) -> Result<Flock<File>, Failure> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(self.folder.join("lock"))
            .map_err(|error| system("lock the folder of certificates", error))?;
        Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, error)| system("lock the folder of certificates", error.into()))
    }

    /// What a door's link leads to.
    pub(super) fn at(&self, place: &Place) -> Option<Known> {
        let target = std::fs::read_link(self.door(place)).ok()?;
        let id = target.to_str()?.strip_suffix("-cert.pub")?.parse().ok()?;
        self.known(id)
    }

    /// Everything that is kept and was for the key that is there. What is over is taken away.
    pub(super) fn all(&self, key: &PublicKey, now: Timestamp) -> Result<Vec<Known>, Failure> {
        let failed = |error: io::Error| cannot("read", &self.folder, &error);
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        let mut all = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".json")).and_then(|id| id.parse().ok());
            let Some(id) = id else { continue };
            match self.known(id) {
                Some(known) if known.view.fingerprint == fingerprint && now < known.view.valid_before => {
                    all.push(known);
                }
                Some(_) | None => self.forget(id),
            }
        }
        Ok(all)
    }

    fn known(&self, id: ActivationId) -> Option<Known> {
        let file = File::open(self.view(id)).ok()?;
        let seen = file.metadata().and_then(|about| about.modified()).ok()?;
        let mut text = String::new();
        file.take(VIEW_MAX).read_to_string(&mut text).ok()?;
        let view: CertificateView = serde_json::from_str(&text).ok()?;
        (view.id == id && self.certificate(id).exists()).then_some(Known { view, seen })
    }

    /// The key; made when there is none.
    pub(super) fn key(&self) -> Result<PublicKey, Failure> {
        let path = self.folder.join("key");
        if let Some(key) = existing(&path)? {
            return Ok(key);
        }
        let key = fresh_key()?;
        write_key(&path, &key)?;
        Ok(key.public_key().clone())
    }

    /// Keeps a certificate, in the place of the one before.
    pub(super) fn keep(&self, view: &CertificateView) -> Result<(), Failure> {
        write_certificate(&self.certificate(view.id), &view.certificate)?;
        let path = self.view(view.id);
        let text = serde_json::to_string(view).map_err(|error| cannot("write", &path, &error.into()))?;
        write_certificate(&path, &text)
    }

    /// The daemon said that its grant lives.
    pub(super) fn saw(&self, id: ActivationId, now: SystemTime) -> Result<(), Failure> {
        let path = self.view(id);
        let set = OpenOptions::new().write(true).open(&path).and_then(|file| file.set_modified(now));
        set.map_err(|error| cannot("write", &path, &error))
    }

    /// A door is opened by this one.
    pub(super) fn lead(&self, place: &Place, id: ActivationId) -> Result<(), Failure> {
        let (door, fresh) = (self.door(place), self.folder.join(format!(".door.{}", std::process::id())));
        let made = std::os::unix::fs::symlink(format!("{id}-cert.pub"), &fresh)
            .and_then(|()| std::fs::rename(&fresh, &door));
        made.map_err(|error| {
            drop(std::fs::remove_file(&fresh));
            cannot("write", &door, &error)
        })
    }

    /// The grant is over. Doors that lead to it lead nowhere then.
    pub(super) fn forget(&self, id: ActivationId) {
        // What stays opens nothing: the host decides.
        drop(std::fs::remove_file(self.certificate(id)));
        drop(std::fs::remove_file(self.view(id)));
    }

    fn view(&self, id: ActivationId) -> PathBuf {
        self.folder.join(format!("{id}.json"))
    }

    fn certificate(&self, id: ActivationId) -> PathBuf {
        self.folder.join(format!("{id}-cert.pub"))
    }

    fn door(&self, place: &Place) -> PathBuf {
        self.folder.join(format!("{place}-cert.pub"))
    }
}
