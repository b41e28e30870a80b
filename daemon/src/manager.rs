//! What the service manager is told: that the daemon is ready, stops, and works (sd_notify(3), without its library).
//!
//! In: NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID, and the core. Out: datagrams. `WATCHDOG=1` is said only after the core has given
//! everything that its work needs: a daemon that runs and gets nothing done is silent, and is started again. Threat R22.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

use crate::core::Core;
use crate::log;

/// The service manager, where there is one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manager {
    address: Option<SocketAddr>,
    every: Option<Duration>,
}

fn address_of(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_encoded_bytes().strip_prefix(b"@") {
        Some(rest) => SocketAddr::from_abstract_name(rest),
        None => SocketAddr::from_pathname(Path::new(name)),
    }
}

/// How often it hears of us: three times in the time after which it gives us up. None: it does not listen, or not to us.
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
    pub(crate) fn of_this_process() -> Self {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return Self::default() };
        let every =
            every(std::env::var_os("WATCHDOG_USEC"), std::env::var_os("WATCHDOG_PID"), std::process::id());
        Self::at(&name, every)
    }

    /// At a socket.
    pub(crate) fn at(name: &OsStr, every: Option<Duration>) -> Self {
        match address_of(name) {
            Ok(address) => Self { address: Some(address), every },
            Err(error) => {
                log::warning(&format!("the service manager cannot be told anything: {error}"));
                Self::default()
            }
        }
    }

    /// Tells it a state.
    pub(crate) fn tell(&self, state: &str) {
        let Some(address) = &self.address else { return };
        // Never waits: a manager that does not read is told again in a while.
        let told = UnixDatagram::unbound().and_then(|socket| {
            socket.set_nonblocking(true)?;
            socket.send_to_addr(state.as_bytes(), address).map(drop)
        });
        if let Err(error) = told {
            log::warning(&format!("the service manager cannot be told {state}: {error}"));
        }
    }

    /// Tells it again and again that the core works, as long as it does.
    pub(crate) async fn watch(self, core: Core) {
        let Some(every) = self.every else { return std::future::pending().await };
        loop {
            match core.works().await {
                Ok(()) => self.tell("WATCHDOG=1"),
                Err(error) => {
                    log::error(&format!("the daemon does not get its work done: {}", log::chain(&error)));
                }
            }
            tokio::time::sleep(every).await;
        }
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
}
