//! What the service manager is told: that the one thread that carries goes on (sd_notify(3), without its library).
//!
//! In: NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID. Out: datagrams. A link that stands still is silent and is started again: what a
//! host is to end comes through it. Threat R22.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::tell;

/// The service manager and how often it hears of us: three times in the time after which it gives us up.
#[derive(Debug)]
pub(crate) struct Manager {
    address: SocketAddr,
    every: Duration,
}

fn address_of(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes().strip_prefix(b"@") {
        Some(rest) => SocketAddr::from_abstract_name(rest),
        None => SocketAddr::from_pathname(name),
    }
}

fn every(usec: Option<OsString>, pid: Option<OsString>, own: u32) -> Option<Duration> {
    let number = |text: OsString| text.to_str().and_then(|text| text.parse::<u64>().ok());
    if pid.is_some_and(|pid| number(pid) != Some(u64::from(own))) {
        return None;
    }
    let patience = number(usec?).filter(|usec| *usec > 0)?;
    Some(Duration::from_micros(patience.div_euclid(3)).max(Duration::from_millis(20)))
}

impl Manager {
    /// Of this process; none where nobody listens, or not to us.
    pub(crate) fn of_this_process() -> Option<Self> {
        let name = std::env::var_os("NOTIFY_SOCKET")?;
        let every =
            every(std::env::var_os("WATCHDOG_USEC"), std::env::var_os("WATCHDOG_PID"), std::process::id())?;
        match address_of(&name) {
            Ok(address) => Some(Self { address, every }),
            Err(error) => {
                tell(&format!("the service manager cannot be told anything: {error}"));
                None
            }
        }
    }

    /// Tells it again and again, on the thread that carries.
    pub(crate) async fn watch(&self) -> std::convert::Infallible {
        loop {
            // Never waits: a manager that does not read is told again in a while.
            self.goes_on().ok();
            tokio::time::sleep(self.every).await;
        }
    }

    fn goes_on(&self) -> io::Result<()> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.send_to_addr(b"WATCHDOG=1\n", &self.address).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_time_that_is_meant_for_this_process_counts() {
        let of = |usec: &str, pid: Option<&str>| every(Some(usec.into()), pid.map(Into::into), 7);
        assert_eq!(of("24000000", None), Some(Duration::from_secs(8)));
        assert_eq!(of("24000000", Some("7")), Some(Duration::from_secs(8)));
        assert_eq!(of("24000000", Some("8")), None);
        for odd in ["", "0", "-1", "9s", "99999999999999999999999"] {
            assert_eq!(of(odd, None), None, "{odd}");
        }
        assert_eq!(every(None, None, 7), None);
        assert!(of("1", None) >= Some(Duration::from_millis(20)), "as often as it can, and no busy loop");
    }

    #[test]
    fn r22_a_link_whose_thread_stands_still_no_longer_says_that_it_goes_on() {
        let name = "@elevate-link-manager-test";
        let listener = UnixDatagram::bind_addr(&address_of(OsStr::new(name)).unwrap()).unwrap();
        let heard = |within| {
            listener.set_read_timeout(Some(within)).unwrap();
            let mut text = [0; 64];
            let length = listener.recv(&mut text).ok()?;
            Some(String::from_utf8_lossy(&text[..length]).into_owned())
        };
        let (hold, held) = tokio::sync::oneshot::channel::<()>();
        let (go_on, goes_on) = std::sync::mpsc::channel::<()>();
        let link = std::thread::spawn(move || {
            let address = address_of(OsStr::new(name)).unwrap();
            let manager = Manager { address, every: Duration::from_millis(20) };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            // What carries, and from a moment on waits for something that does not come.
            let carries = async move {
                held.await.ok();
                goes_on.recv().ok();
            };
            runtime.block_on(async move {
                tokio::select! {
                    never = manager.watch() => match never {},
                    () = carries => {}
                }
            });
        });
        for _ in 0..3 {
            assert_eq!(heard(Duration::from_secs(20)).as_deref(), Some("WATCHDOG=1\n"));
        }
        hold.send(()).unwrap();
        while heard(Duration::from_millis(500)).is_some() {}
        assert_eq!(heard(Duration::from_millis(500)), None);
        drop(go_on);
        link.join().unwrap();
    }
}
