//! Who called sudo and with what, from the kernel and from libpam's items.
//!
//! In: /proc/self, getuid(2), PAM items. Out: [`Caller`]; every text bounded and shown only escaped.
//! The environment is never asked: on some sudos it is still the caller's.

use std::fs::File;
use std::io::Read;
use std::time::Duration;

use elevate_protocol::text::UntrustedText;

use crate::clock;

/// Most of /proc/self/cmdline that is read, in bytes.
const CMDLINE_MAX: u64 = 16 * 1024;
/// Most arguments that are reported.
const ARGS_MAX: usize = 64;

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

/// How long this process has been there; as long as can be said when the kernel does not say it.
fn age() -> Duration {
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else { return Duration::MAX };
    // proc_pid_stat(5): the second field is in parentheses and may hold anything; `starttime` is the 22nd, in clock ticks.
    let after = stat.rsplit_once(')').map(|(_, after)| after.split_ascii_whitespace());
    let ticks: Option<u64> = after.and_then(|mut fields| fields.nth(19)).and_then(|field| field.parse().ok());
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
