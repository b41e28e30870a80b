//! Tells the one thread at once when something changes that rules stand on: PAM files, the module, sudoers, the ceiling.
//!
//! In: inotify(7) on folders. Out: [`Message::Changed`], one until it was taken. The regular look stays: inotify does not tell
//! of files behind links, of mounts, or of what was lost when its queue ran over.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

use crate::app::message::Message;
use crate::journal::{self, Level};
use crate::paths::Paths;
use crate::probe::{MODULE, SERVICES};
use crate::sshd::PAM_SERVICE;

/// Names in /etc that matter.
const OF_ETC: [&str; 6] = ["sudoers", "sudoers-rs", "sudoers.d", "pam.d", "elevate", "ssh"];

/// Whether a message is on its way: many changes are one look.
#[derive(Debug, Clone, Default)]
pub(crate) struct OnItsWay(Arc<AtomicBool>);

impl OnItsWay {
    /// The message is being taken: what changes from now on is another.
    pub(crate) fn taken(&self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// A folder and what in it matters.
struct Watched {
    folder: PathBuf,
    matters: fn(&OsStr) -> bool,
}

fn watched(paths: &Paths) -> Vec<Watched> {
    let etc = paths.root.join("etc");
    let mut folders = vec![
        Watched { folder: etc.clone(), matters: |name| OF_ETC.iter().any(|known| name == *known) },
        Watched {
            folder: paths.pam_services.clone(),
            matters: |name| SERVICES.iter().chain([&PAM_SERVICE]).any(|known| name == *known),
        },
        Watched { folder: etc.join("sudoers.d"), matters: |_| true },
        Watched {
            folder: etc.join("ssh"),
            matters: |name| name == "sshd_config" || name == "sshd_config.d" || name == "elevate",
        },
        Watched { folder: etc.join("ssh/sshd_config.d"), matters: |_| true },
        Watched { folder: etc.join("ssh/elevate"), matters: |name| name == "revoked" },
        Watched { folder: etc.join("elevate"), matters: |name| name == "ceiling.toml" || name == "epoch" },
        Watched { folder: paths.trust.clone(), matters: |name| name == "user_ca" },
    ];
    folders.extend(paths.pam_modules().map(|folder| Watched { folder, matters: |name| name == MODULE }));
    folders
}

/// Starts to watch, for as long as the agent lives.
///
/// # Errors
/// No thread, or no inotify: then only the regular look is left.
pub(crate) fn start(paths: &Paths, sender: SyncSender<Message>, on_its_way: OnItsWay) -> io::Result<()> {
    let paths = paths.clone();
    thread::Builder::new().name("changes".into()).spawn(move || {
        loop {
            // Anew after a folder went or came: its watch went with it.
            if let Err(error) = watch(&paths, &sender, &on_its_way) {
                let what = format!("changes are seen by the regular look only: inotify: {error}");
                return journal::log(Level::Warning, &what);
            }
        }
    })?;
    Ok(())
}

/// Watches until one of the folders is another.
fn watch(paths: &Paths, sender: &SyncSender<Message>, on_its_way: &OnItsWay) -> nix::Result<()> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC)?;
    let content = AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_MODIFY
        | AddWatchFlags::IN_ATTRIB
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_MOVE
        | AddWatchFlags::IN_ONLYDIR;
    let itself = AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF;
    let mut folders: Vec<(WatchDescriptor, Watched)> = Vec::new();
    for watched in watched(paths) {
        match inotify.add_watch(&watched.folder, content | itself) {
            Ok(descriptor) => folders.push((descriptor, watched)),
            // Its coming is seen in /etc, or by the regular look.
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(error) => return Err(error),
        }
    }
    // What changed before the watches stood.
    tell(sender, on_its_way);
    loop {
        let events = match inotify.read_events() {
            Ok(events) => events,
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error),
        };
        let moved = |event: &InotifyEvent| {
            event.mask.intersects(itself | AddWatchFlags::IN_IGNORED | AddWatchFlags::IN_Q_OVERFLOW)
                || event.mask.contains(AddWatchFlags::IN_ISDIR) && is_wanted(event, &folders)
        };
        if events.iter().any(moved) {
            return Ok(());
        }
        if events.iter().any(|event| is_wanted(event, &folders)) {
            tell(sender, on_its_way);
        }
    }
}

fn is_wanted(event: &InotifyEvent, folders: &[(WatchDescriptor, Watched)]) -> bool {
    let Some(name) = &event.name else { return false };
    folders.iter().any(|(descriptor, watched)| *descriptor == event.wd && (watched.matters)(name))
}

fn tell(sender: &SyncSender<Message>, on_its_way: &OnItsWay) {
    if !on_its_way.0.swap(true, Ordering::SeqCst) {
        // The receiver lives as long as the process.
        drop(sender.send(Message::Changed));
    }
}
