//! A host's reports as events, bounded so that every one of them has a place in the log.
//!
//! In: [`Report`]. Out: [`Kind`]. A report that could not be recorded would be sent for ever, so long ones are cut.

use elevate_audit::{Kind, Used};
use elevate_protocol::id::ActivationId;
use elevate_protocol::message::agent::{Report, UseKind, UseReport};
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Timestamp;

/// Bytes of all arguments together.
const ARGV_MAX: usize = 16 * 1024;
/// Grants named in one event.
const GRANTS_MAX: usize = 64;

pub(super) fn kind(number: u64, host_time: Timestamp, report: Report) -> Kind {
    match report {
        Report::Used { grants, used } => use_kind(number, host_time, (grants, used)),
        Report::Warned { grant: _, left } => Kind::HostWarned { number, host_time, left },
        Report::Ended { grant: _, cause } => Kind::HostEnded { number, host_time, cause },
        Report::GateClosed { uid, why } => Kind::HostGateClosed { number, host_time, uid, why },
        Report::UseRefused { mut grants, uid, why } => {
            grants.truncate(GRANTS_MAX);
            Kind::HostUseRefused { number, host_time, grants, uid, why }
        }
        Report::SshLogin { grant: _, connection } => Kind::HostSshLogin { number, host_time, connection },
        Report::SshLogout { grant: _, connection, end } => {
            Kind::HostSshLogout { number, host_time, connection, end }
        }
        Report::SshRefused { grant: _, login, from, why } => {
            Kind::HostSshRefused { number, host_time, login, from, why }
        }
        Report::Lost { count, first, last } => {
            Kind::HostReportsLost { number, host_time, count, first, last }
        }
        Report::Epoch { epoch } => Kind::HostEpochConfirmed { number, host_time, epoch },
        Report::ClockStep { by } => Kind::HostClockStep { number, host_time, by },
        Report::Tampered { what } => Kind::HostTampered { number, host_time, what },
        Report::Started { agent, grants } => {
            Kind::HostStarted { number, host_time, agent: UntrustedText::lossy(&agent), grants }
        }
    }
}

fn use_kind(number: u64, host_time: Timestamp, (mut grants, used): (Vec<ActivationId>, UseReport)) -> Kind {
    let UseReport { uid, kind, service, run_as, argv, directory, terminal, pid } = used;
    match kind {
        UseKind::GateClosed { why } => Kind::HostGateClosed { number, host_time, uid, why },
        UseKind::NotProven { why } => {
            grants.truncate(GRANTS_MAX);
            Kind::HostUseRefused { number, host_time, grants, uid, why }
        }
        UseKind::Start => {
            grants.truncate(GRANTS_MAX);
            let used = Used { uid, service, run_as, argv: cut(argv), directory, terminal, pid };
            Kind::HostUsed { number, host_time, grants, used }
        }
    }
}

/// As many arguments as fit; `…` stands for the rest.
fn cut(argv: Vec<UntrustedText>) -> Vec<UntrustedText> {
    let mut left = ARGV_MAX;
    let mut kept = Vec::new();
    for word in argv {
        // Each word has quotes and a comma around it.
        let size = word.raw().len().saturating_add(3);
        if size > left {
            kept.push(UntrustedText::lossy("…"));
            break;
        }
        left = left.saturating_sub(size);
        kept.push(word);
    }
    kept
}
