//! The SSH part of a role: the accounts that its certificates open, and what they allow there.
//!
//! In: `ssh = { logins, forward, pty, source, command, agentless }`. Out: [`SshPart`], and warnings for what opens more than it says.
//! Spec: docs/policy.md "ssh". Threats E10, E11, E14.

use elevate_protocol::name::Name;
use elevate_protocol::ssh::{Forward, Source, SshError, SshOptions, SshPart};

use super::reader::{Item, Report, Table};
use crate::lint;

const KEYS: [&str; 6] = ["logins", "forward", "pty", "source", "command", "agentless"];
/// What to write.
pub(super) const FORM: &str = "write ssh = { logins = [\"postgres\"] }";
const LOGINS: &str = "write logins = [\"postgres\"], each account as it is called on the hosts";
const FORWARD: &str = "write forward = [\"local\"], or some of \"local\", \"remote\", \"agent\", \"x11\"";
const SOURCE: &str = "write source = [\"10.1.0.0/16\"], or leave the key out: from everywhere";
const COMMAND: &str = "write command = \"/usr/local/bin/backup --now\", one line";

/// Reads the part; every error is reported.
pub(super) fn ssh(report: &mut Report<'_>, item: Item<'_>) -> Option<SshPart> {
    let table = item.table(report, &KEYS, FORM)?;
    let logins = table.need(report, "logins", LOGINS).and_then(|item| logins(report, item));
    let forward = list(report, &table, "forward", forward);
    let source = match table.get("source") {
        // Empty would be from everywhere.
        Some(item) => item.filled_list(report, SOURCE).and_then(|items| each(report, items, source)),
        None => Some(Vec::new()),
    };
    let pty = table.get("pty").map_or(Some(true), |item| item.flag(report));
    let command = table.get("command").map(|item| item.text(report).map(ToOwned::to_owned));
    let agentless = table.get("agentless").map_or(Some(false), |item| item.flag(report));
    let options = SshOptions {
        forward: forward?,
        pty: pty?,
        source: source?,
        command: command.map_or(Some(None), |text| text.map(Some))?,
        agentless: agentless?,
    };
    let part = SshPart::new(logins?, options).map_err(|error| refuse(report, item, &error)).ok()?;
    for (message, instead) in lint::ssh_escapes(&part) {
        report.warning(item.place, message, instead);
    }
    Some(part)
}

fn list<T>(
    report: &mut Report<'_>,
    table: &Table<'_>,
    key: &str,
    read: impl Fn(&mut Report<'_>, Item<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let Some(item) = table.get(key) else { return Some(Vec::new()) };
    let items = item.list(report)?;
    each(report, items, read)
}

/// All of them, each reported where it stands.
fn each<T>(
    report: &mut Report<'_>,
    items: Vec<Item<'_>>,
    read: impl Fn(&mut Report<'_>, Item<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let all: Vec<Option<T>> = items.into_iter().map(|item| read(report, item)).collect();
    all.into_iter().collect()
}

fn logins(report: &mut Report<'_>, item: Item<'_>) -> Option<Vec<Name>> {
    let items = item.filled_list(report, LOGINS)?;
    each(report, items, |report, item| {
        let text = item.text(report)?;
        match text.parse::<Name>() {
            Ok(name) => Some(name),
            Err(error) => {
                report.error(item.place, format!("{text:?} is no account to log in as: {error}"), LOGINS);
                None
            }
        }
    })
}

fn forward(report: &mut Report<'_>, item: Item<'_>) -> Option<Forward> {
    let word = item.text(report)?;
    let found = Forward::ALL.into_iter().find(|one| one.word() == word);
    if found.is_none() {
        report.error(item.place, format!("{word:?} is nothing that is forwarded"), FORWARD);
    }
    found
}

fn source(report: &mut Report<'_>, item: Item<'_>) -> Option<Source> {
    item.text(report)?.parse().map_err(|error| refuse(report, item, &error)).ok()
}

fn refuse(report: &mut Report<'_>, item: Item<'_>, error: &SshError) {
    let hint = match error {
        SshError::Logins { .. } => LOGINS,
        SshError::Twice { .. } => "write each once",
        SshError::Sources { .. } | SshError::Source { .. } => SOURCE,
        SshError::Forced => COMMAND,
        SshError::Ca | SshError::Cas => FORM,
    };
    report.error(item.place, error.to_string(), hint);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{name, parse};

    const HEAD: &str = "[people]\nalice = {}\n[roles.x]\nwho = [\"alice\"]\nhosts = { names = [\"web1\"] }\n";

    fn part(text: &str) -> SshPart {
        let policy = parse(&format!("{HEAD}ssh = {text}\n")).unwrap();
        // What is shown says the same.
        assert_eq!(parse(&policy.show_effective()).unwrap(), policy);
        policy.role(&name("x")).unwrap().ssh().unwrap().clone()
    }

    #[test]
    fn what_is_not_said_is_not_given() {
        let plain = part("{ logins = [\"postgres\"] }");
        assert_eq!(plain.logins(), [name("postgres")]);
        assert_eq!(
            (plain.options().extensions(), plain.options().critical_options()),
            (vec!["permit-pty"], vec![])
        );
        let bare = part("{ logins = [\"git\", \"deploy\"], pty = false, forward = [] }");
        assert!(bare.options().extensions().is_empty() && !bare.options().agentless);
        assert!(part("{ logins = [\"git\"], agentless = true }").options().agentless);
    }

    #[test]
    fn what_is_said_stands_in_the_certificate() {
        let part = part(
            "{ logins = [\"git\"], forward = [\"local\"], source = [\"10.1.0.0/16\", \"2001:db8::7\"], \
             command = \"/usr/bin/git-shell\" }",
        );
        assert_eq!(part.options().extensions(), ["permit-port-forwarding", "permit-pty"]);
        let critical = [
            ("force-command", "/usr/bin/git-shell".to_owned()),
            ("source-address", "10.1.0.0/16,2001:db8::7".to_owned()),
        ];
        assert_eq!(part.options().critical_options(), critical);
    }

    /// THREATS E10, E11: what is odd is an error, never a wider right.
    #[test]
    fn e11_odd_parts_are_errors_with_what_to_write() {
        for (text, place, message) in [
            ("{}", "6:7", "logins is missing"),
            ("{ logins = [] }", "6:18", "empty list"),
            ("{ logins = [\"*\"] }", "6:19", "is no account to log in as"),
            ("{ logins = [\"root,deploy\"] }", "6:19", "is no account to log in as"),
            ("{ logins = [\"a\", \"a\"] }", "6:7", "a stands twice"),
            ("{ logins = [\"a\"], source = [] }", "6:34", "empty list"),
            ("{ logins = [\"a\"], source = [\"10.1.0.1/16\"] }", "6:35", "without bits beyond"),
            ("{ logins = [\"a\"], source = [\"::ffff:10.0.0.1\"] }", "", ""),
            ("{ logins = [\"a\"], source = [\" 10.0.0.1\"] }", "6:35", "neither an address nor"),
            ("{ logins = [\"a\"], forward = [\"ports\"] }", "6:36", "is nothing that is forwarded"),
            ("{ logins = [\"a\"], command = \"a\\nb\" }", "6:7", "a forced command is one line"),
            ("{ logins = [\"a\"], command = \"\" }", "6:7", "a forced command is one line"),
            ("{ logins = [\"a\"], principals = [\"b\"] }", "6:25", "is not supported by this version"),
            ("\"postgres\"", "6:7", "a table is expected"),
        ] {
            let parsed = parse(&format!("{HEAD}ssh = {text}\n"));
            match parsed {
                Err(error) => {
                    assert!(error.contains(&format!("main.toml:{place}: error: ")), "{text}: {error}");
                    assert!(error.contains(message), "{text}: {error}");
                }
                Ok(_) => assert!(message.is_empty(), "{text} was taken"),
            }
        }
    }

    #[test]
    fn a_root_login_is_a_shell_and_a_forwarded_agent_is_anybodys_there() {
        let warned = |text: &str| {
            let policy = parse(&format!("{HEAD}ssh = {text}\n")).unwrap();
            let role = policy.role(&name("x")).unwrap();
            let warnings: Vec<String> = policy.warnings().iter().map(ToString::to_string).collect();
            (role.allows_summary(), role.lease.is_some(), warnings)
        };
        let (allows, lease, warnings) = warned("{ logins = [\"deploy\", \"root\"] }");
        assert_eq!(
            (allows.as_str(), lease),
            ("logs in as deploy or root, which equals a shell as root", true)
        );
        assert!(warnings[0].contains("main.toml:6:7: warning: logging in as root equals a shell as root"));
        let (allows, lease, warnings) = warned("{ logins = [\"root\"], command = \"/bin/true\" }");
        assert_eq!((allows.as_str(), lease), ("runs 1 command as root by SSH", false));
        assert!(warnings.is_empty(), "{warnings:?}");
        let (allows, _, warnings) = warned("{ logins = [\"a\"], forward = [\"agent\", \"local\"] }");
        assert_eq!(allows, "logs in as a with agent and local forwarding");
        assert!(warnings[0].contains("a forwarded agent"), "{warnings:?}");
        let (allows, _, warnings) = warned("{ logins = [\"a\"], agentless = true }");
        assert_eq!(allows, "logs in as a, on every machine without agent too");
        assert!(warnings[0].contains("wherever the export is trusted"), "{warnings:?}");
    }

    #[test]
    fn a_role_has_sudo_or_ssh_or_both_and_one_that_administers_has_neither() {
        let error = parse(HEAD).unwrap_err();
        assert!(error.contains("sudo is missing") && error.contains("ssh = { logins"), "{error}");
        let both = format!(
            "{HEAD}sudo = {{ as = \"postgres\", shell = true }}\nssh = {{ logins = [\"postgres\"] }}\n"
        );
        let policy = parse(&both).unwrap();
        let summary = policy.role(&name("x")).unwrap().allows_summary();
        assert_eq!(summary, "runs anything as postgres and logs in as postgres");
        assert_eq!(parse(&policy.show_effective()).unwrap(), policy);
        let admin = "[people]\nalice = {}\n[roles.x]\nwho = [\"alice\"]\nadmin = [\"audit\"]\nssh = { logins = [\"a\"] }\n";
        assert!(parse(admin).unwrap_err().contains("a role with admin has no ssh"));
    }
}
