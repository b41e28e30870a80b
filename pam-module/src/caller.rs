//! Who called sudo and with what, from the kernel and from libpam's items.
//!
//! In: /proc/self, getuid(2), PAM items. Out: [`Caller`]; every text bounded and shown only escaped.
//! The environment is never asked: on some sudos it is still the caller's.

use std::fs::File;
use std::io::Read;
use std::time::Duration;

use elevate_protocol::message::agent::Seat;
use elevate_protocol::text::UntrustedText;

use crate::clock;

/// Most of /proc/self/cmdline that is read, in bytes.
const CMDLINE_MAX: u64 = 16 * 1024;
/// Most arguments that are reported.
const ARGS_MAX: usize = 64;
/// Fields of proc_pid_stat(5): the session, the controlling terminal, the start in clock ticks.
const SESSION: usize = 6;
const TTY: usize = 7;
const START: usize = 22;

/// What is known about the call.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// The invoking account. Measured with sudo 1.9.13p3 in auth, account and session: getuid(2) is the invoker (euid and saved
    /// uid are 0), also where PAM_USER is the target account, so no look-up in NSS is needed, which could block or be changed.
    pub(crate) uid: u32,
    /// The arguments of the sudo process.
    pub(crate) argv: Vec<UntrustedText>,
    /// Its directory.
    pub(crate) directory: Option<UntrustedText>,
    /// Its id.
    pub(crate) pid: u32,
    /// How old it is.
    pub(crate) age: Duration,
}

impl Caller {
    /// Asks the kernel.
    pub(crate) fn of_this_process() -> Self {
        let directory = std::fs::read_link("/proc/self/cwd").ok();
        Self {
            uid: nix::unistd::getuid().as_raw(),
            argv: argv(),
            directory: directory.map(|path| UntrustedText::lossy(&path.to_string_lossy())),
            pid: std::process::id(),
            age: age(),
        }
    }
}

/// One field of a process, by its number in proc_pid_stat(5). The second is in parentheses and may hold anything, so what is read
/// comes behind the last of those.
fn field<T: std::str::FromStr>(process: &str, number: usize) -> Option<T> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, after) = stat.rsplit_once(')')?;
    after.split_ascii_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

/// The terminal and session of this process; none without a controlling terminal, or when the session's leader is gone.
pub(crate) fn seat() -> Option<Seat> {
    let session: u32 = field("self", SESSION)?;
    let tty: i64 = field("self", TTY)?;
    let tty = u64::try_from(tty).ok().filter(|tty| *tty != 0)?;
    let began = field(&session.to_string(), START)?;
    (session != 0).then_some(Seat { tty, session, began })
}

/// How long this process has been there; as long as can be said when the kernel does not say it.
fn age() -> Duration {
    let ticks: Option<u64> = field("self", START);
    let rate = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten();
    let rate = rate.and_then(|rate| u64::try_from(rate).ok());
    let millis = ticks.and_then(|ticks| ticks.checked_mul(1000)?.checked_div(rate?));
    millis.map_or(Duration::MAX, |millis| clock::since_boot().saturating_sub(Duration::from_millis(millis)))
}

fn argv() -> Vec<UntrustedText> {
    let mut bytes = Vec::new();
    let read =
        File::open("/proc/self/cmdline").and_then(|file| file.take(CMDLINE_MAX).read_to_end(&mut bytes));
    if read.is_err() {
        return Vec::new();
    }
    let whole = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    let parts = whole.split(|byte| *byte == 0).take(ARGS_MAX);
    parts.map(|part| UntrustedText::lossy(&String::from_utf8_lossy(part))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_a_process_are_counted_as_the_manual_counts_them() {
        let own = std::process::id();
        assert_eq!(field::<u32>("self", 4), Some(std::os::unix::process::parent_id()));
        assert_eq!(field::<u64>(&own.to_string(), START), field::<u64>("self", START));
        let session = nix::unistd::getsid(None).unwrap().as_raw();
        assert_eq!(field::<i32>("self", SESSION), Some(session));
        assert_eq!(field::<u32>("no-such-process", SESSION), None);
        assert!(seat().is_none_or(|seat| seat.tty != 0 && i32::try_from(seat.session) == Ok(session)));
    }

    #[test]
    fn this_process_is_seen_as_the_kernel_sees_it() {
        let caller = Caller::of_this_process();
        assert!(caller.age < Duration::from_secs(600), "{:?}", caller.age);
        assert_eq!((caller.uid, caller.pid), (nix::unistd::getuid().as_raw(), std::process::id()));
        let program = std::env::args().next().unwrap();
        assert_eq!(caller.argv.first().map(UntrustedText::raw), Some(program.as_str()));
        let directory = std::env::current_dir().unwrap();
        assert_eq!(caller.directory.unwrap().raw(), directory.to_str().unwrap());
    }
}
