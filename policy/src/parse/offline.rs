//! `offline`: how long a right lives on a host that cannot reach the daemon.
//!
//! In: `"to-end"` or `"lease 5m"`. Out: the lease, none for `to-end`. Spec: docs/policy.md "offline".

use elevate_protocol::ssh::SshPart;
use elevate_protocol::sudo::{Allowed, SudoPart};
use elevate_protocol::time::Span;

use super::reader::{Item, Report};
use crate::lint;
use crate::policy::HARD_CAP;

/// What a shell as root has when nobody says.
const OF_ROOT_SHELLS: Span = Span(300);
/// The shortest lease: hosts ask three times within one, and an answer takes its time.
const LEAST: Span = Span(10);
const FORM: &str = "write \"to-end\", or \"lease 5m\"";

/// Reads it: none for `to-end`.
pub(super) fn offline(report: &mut Report<'_>, item: Item<'_>) -> Option<Option<Span>> {
    let text = item.text(report)?;
    if text == "to-end" {
        return Some(None);
    }
    let Some(length) = text.strip_prefix("lease ") else {
        report.error(item.place, format!("{text:?} is not known here"), FORM);
        return None;
    };
    match length.parse::<Span>() {
        Ok(lease) if lease < LEAST => {
            let message = format!("a lease of {lease} ends while the host is still being asked");
            report.error(item.place, message, format!("write \"lease {LEAST}\", or more"));
            None
        }
        Ok(lease) if lease > HARD_CAP => {
            let message = format!("{lease} is longer than any right lasts, {HARD_CAP}");
            report.error(item.place, message, "write \"to-end\", or less");
            None
        }
        Ok(lease) => Some(Some(lease)),
        Err(error) => {
            report.error(item.place, format!("{length:?} is no duration: {error}"), FORM);
            None
        }
    }
}

/// The lease of a role where neither it nor `[defaults]` says.
pub(super) fn built_in(sudo: Option<&SudoPart>, ssh: Option<&SshPart>) -> Option<Span> {
    let all =
        |sudo: &SudoPart| matches!(sudo.allowed(), Allowed::Everything) && sudo.run_as().as_str() == "root";
    (sudo.is_some_and(all) || ssh.is_some_and(lint::is_root_login)).then_some(OF_ROOT_SHELLS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{name, parse};

    const HEAD: &str = "[people]\nalice = {}\n[roles.x]\nwho = [\"alice\"]\nhosts = { names = [\"web1\"] }\n";
    const SHELL: &str = "sudo = { as = \"root\", shell = true }\n";
    const POSTGRES: &str = "sudo = { as = \"postgres\", shell = true }\n";
    const ONE: &str = "sudo = { as = \"root\", run = [[\"/usr/bin/id\"]] }\n";

    fn lease(text: &str) -> Option<Span> {
        let policy = parse(text).unwrap();
        // What is shown says the same.
        assert_eq!(parse(&policy.show_effective()).unwrap(), policy);
        policy.role(&name("x")).unwrap().lease
    }

    #[test]
    fn shells_as_root_have_a_lease_where_nobody_says() {
        assert_eq!(lease(&format!("{HEAD}{SHELL}")), Some(Span(300)));
        assert_eq!(lease(&format!("{HEAD}{POSTGRES}")), None);
        assert_eq!(lease(&format!("{HEAD}{ONE}")), None);
    }

    #[test]
    fn the_role_says_then_the_defaults_then_what_is_built_in() {
        assert_eq!(lease(&format!("{HEAD}{SHELL}offline = \"to-end\"")), None);
        assert_eq!(lease(&format!("{HEAD}{ONE}offline = \"lease 90s\"")), Some(Span(90)));
        let defaults = |said: &str| format!("[defaults]\noffline = \"{said}\"\n{HEAD}");
        assert_eq!(lease(&format!("{}{ONE}", defaults("lease 10m"))), Some(Span(600)));
        assert_eq!(lease(&format!("{}{SHELL}", defaults("to-end"))), None);
        assert_eq!(lease(&format!("{}{SHELL}offline = \"lease 1m\"", defaults("to-end"))), Some(Span(60)));
    }

    #[test]
    fn odd_leases_are_errors_with_what_to_write() {
        for (said, message) in [
            ("\"lease\"", "is not known here"),
            ("\"never\"", "is not known here"),
            ("\"lease 5\"", "5 of what?"),
            ("\"lease 9s\"", "ends while the host is still being asked"),
            ("\"lease 25h\"", "longer than any right lasts"),
            ("5", "a text is expected"),
        ] {
            let error = parse(&format!("{HEAD}{ONE}offline = {said}")).unwrap_err();
            assert!(error.contains("main.toml:7:11: error: ") && error.contains(message), "{said}: {error}");
        }
    }
}
