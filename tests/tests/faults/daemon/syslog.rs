//! A syslog that remembers which events it heard.
//!
//! In: a path for its socket. Out: [`Heard`]. What it heard is out of the daemon's hands: it must be in the log for good.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) seq: u64,
    pub(crate) code: String,
}

/// Listens as long as it lives.
#[derive(Debug)]
pub(crate) struct Syslog {
    heard: Arc<Mutex<Vec<Heard>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

fn parameter<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = message.split_once(&format!(" {name}=\""))?;
    rest.split_once('"').map(|(value, _)| value)
}

impl Syslog {
    pub(crate) fn listen(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let (heard, over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (list, ended) = (Arc::clone(&heard), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            let mut piece = vec![0; 16 * 1024];
            while !ended.load(Ordering::Relaxed) {
                let Ok(length) = socket.recv(&mut piece) else { continue };
                let message = String::from_utf8_lossy(&piece[..length]).into_owned();
                let seq = parameter(&message, "seq").unwrap().parse().unwrap();
                let code = parameter(&message, "code").unwrap().to_owned();
                list.lock().unwrap().push(Heard { seq, code });
            }
        });
        Self { heard, over, thread: Some(thread) }
    }

    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }
}

impl Drop for Syslog {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}
