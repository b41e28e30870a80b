//! What systemd is told: that everything is in place, and that the work goes on (sd_notify(3), without its library).
//!
//! In: NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID, which only systemd sets for root. Out: datagrams. The one thread that does all
//! the work tells it itself, after work: no timer of another thread speaks for it. Threat R22.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::clock::Boot;
use crate::journal::{self, Level};

/// The service manager, where there is one.
#[derive(Debug, Default)]
pub(crate) struct Manager {
    address: Option<SocketAddr>,
    /// When it wants to hear of us next, and how often; none: never.
    due: Option<(Boot, Duration)>,
}

fn address_of(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes().strip_prefix(b"@") {
        Some(rest) => SocketAddr::from_abstract_name(rest),
        None => SocketAddr::from_pathname(name),
    }
}

/// How often the manager hears of us: three times in the time after which it gives us up. None: it does not listen, or not to us.
fn every(usec: Option<OsString>, pid: Option<OsString>, own: u32) -> Option<Duration> {
    let number = |text: OsString| text.to_str().and_then(|text| text.parse::<u64>().ok());
    if pid.is_some_and(|pid| number(pid) != Some(u64::from(own))) {
        return None;
    }
    let patience = number(usec?).filter(|usec| *usec > 0)?;
    Some(Duration::from_micros(patience.div_euclid(3)).max(Duration::from_millis(20)))
}

impl Manager {
    /// Of this process.
    pub(crate) fn of_this_process(now: Boot) -> Self {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return Self::default() };
        let every =
            every(std::env::var_os("WATCHDOG_USEC"), std::env::var_os("WATCHDOG_PID"), std::process::id());
        match address_of(&name) {
            Ok(address) => Self { address: Some(address), due: every.map(|every| (now, every)) },
            Err(error) => {
                journal::log(Level::Warning, &format!("systemd cannot be told anything: {error}"));
                Self::default()
            }
        }
    }

    /// Everything is in place.
    pub(crate) fn ready(&self) {
        if let Err(error) = self.tell("READY=1\n") {
            journal::log(Level::Warning, &format!("systemd was not told that the agent is ready: {error}"));
        }
    }

    /// The work goes on. Called by the thread that works, after it has worked.
    pub(crate) fn goes_on(&mut self, now: Boot) {
        let Some((due, every)) = self.due.filter(|(due, _)| now >= *due) else { return };
        // Never waits: a manager that does not read is told again in a while.
        let told = self.tell("WATCHDOG=1\n").is_ok();
        self.due = Some((if told { now.after_millis(every) } else { due.max(now) }, every));
    }

    /// When it is to be told next.
    #[must_use]
    pub(crate) fn due(&self) -> Option<Boot> {
        self.due.map(|(due, _)| due)
    }

    fn tell(&self, state: &str) -> io::Result<()> {
        let Some(address) = &self.address else { return Ok(()) };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.send_to_addr(state.as_bytes(), address).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_of(usec: &str, pid: Option<&str>) -> Option<Duration> {
        every(Some(usec.into()), pid.map(Into::into), 7)
    }

    #[test]
    fn only_a_time_that_is_meant_for_this_process_counts() {
        assert_eq!(every_of("24000000", None), Some(Duration::from_secs(8)));
        assert_eq!(every_of("24000000", Some("7")), Some(Duration::from_secs(8)));
        assert_eq!(every_of("24000000", Some("8")), None);
        for odd in ["", "0", "-1", "9s", "99999999999999999999999"] {
            assert_eq!(every_of(odd, None), None, "{odd}");
        }
        assert_eq!(every(None, None, 7), None);
        assert!(
            every_of("1", None) >= Some(Duration::from_millis(20)),
            "as often as it can, and no busy loop"
        );
    }

    #[test]
    fn it_is_told_when_it_is_due_and_in_an_abstract_socket_too() {
        let listener =
            UnixDatagram::bind_addr(&address_of(OsStr::new("@elevate-manager-test")).unwrap()).unwrap();
        listener.set_nonblocking(true).unwrap();
        let heard = || {
            let mut text = [0; 64];
            listener.recv(&mut text).ok().map(|length| String::from_utf8_lossy(&text[..length]).into_owned())
        };
        let address = address_of(OsStr::new("@elevate-manager-test")).unwrap();
        let mut manager = Manager { address: Some(address), due: Some((Boot(100), Duration::from_secs(1))) };
        manager.goes_on(Boot(99));
        assert_eq!(heard(), None);
        manager.goes_on(Boot(100));
        assert_eq!((heard().as_deref(), manager.due()), (Some("WATCHDOG=1\n"), Some(Boot(1100))));
        manager.goes_on(Boot(1099));
        assert_eq!(heard(), None);
        drop(listener);
        manager.goes_on(Boot(1100));
        assert_eq!(
            manager.due(),
            Some(Boot(1100)),
            "nobody heard it: tried again at once that there is time"
        );
        Manager::default().goes_on(Boot(5));
    }
}
