//! What the parser takes and, above all, what it refuses and how it says so.
//!
//! In: policies with one thing wrong. Out: the exact place and text. Threats A01, A05–A08, C03, C09, C10.

use ssh_key::{HashAlg, PublicKey};

use crate::fixture::{MAIN, name, parse, policy, policy_with};
use crate::{AdminPart, Member, Policy, Severity};

const ROLE: &str = "who = [\"alice\"]\nhosts = { names = [\"web1\"] }\n";
const HEAD: &str = "[people]\nalice = {}\nbob = {}\n[groups]\nops = [\"alice\"]\n[roles.x]\n";

/// `HEAD` (6 lines), the lines of a good role (7, 8) and `rest` from line 9 on.
fn with(rest: &str) -> String {
    parse(&format!("{HEAD}{ROLE}{rest}")).expect_err(rest)
}

/// The same with a good sudo part in line 9; `rest` is line 10.
fn rule(rest: &str) -> String {
    with(&format!("sudo = {{ as = \"root\", shell = true }}\n{rest}"))
}

/// A role whose only fault is in its sudo part, line 9.
fn run(rest: &str) -> String {
    with(&format!("sudo = {{ as = \"root\", {rest} }}"))
}

#[track_caller]
fn says(report: &str, place: &str, message: &str, hint: &str) {
    let found = format!("\n{report}").split("\nmain.toml:").any(|one| {
        one.starts_with(&format!("{place}: error: "))
            && one.contains(message)
            && one.split("hint: ").nth(1).is_some_and(|text| text.contains(hint))
    });
    assert!(found, "{place} {message} {hint} is not in:\n{report}");
}

#[test]
fn an_error_is_a_place_a_message_and_what_to_write() {
    assert_eq!(rule("duration = 90"), "main.toml:10:12: error: 90 of what?\n  hint: write \"90m\"");
    let error = Policy::parse(&[("policy.d/a.toml".into(), "[people]\n\u{e9}x = 1".into())]).unwrap_err();
    assert!(error.to_string().starts_with("policy.d/a.toml:2:1: error: "), "{error}");
}

#[test]
fn syntax_and_keys() {
    says(&parse("[people\n").unwrap_err(), "1:8", "", "[section]");
    says(&parse("[people]\nalice = {}\nalice = {}\n").unwrap_err(), "3:1", "duplicate key", "each key once");
    says(&parse("[peple]\n").unwrap_err(), "1:2", "unknown key \"peple\"", "did you mean people?");
    says(
        &parse("people = 3\n").unwrap_err(),
        "1:10",
        "a table is expected here, this is an integer",
        "[section]",
    );
    says(&rule("duratoin = \"1h\""), "10:1", "unknown key \"duratoin\"", "did you mean duration?");
    says(&rule("colour = \"red\""), "10:1", "unknown key \"colour\"", "known here: title, who");
    says(&parse("[defaults]\nmx = \"1h\"\n").unwrap_err(), "2:1", "unknown key", "did you mean max?");
    says(&rule("title = 3"), "10:9", "a text is expected", "double quotes");
    says(&rule("title = \"a\\u001bb\""), "10:9", "control character U+001B", "plain text");
    says(
        &parse("[people]\nalice = { kyes = [] }\n").unwrap_err(),
        "2:11",
        "unknown key",
        "did you mean keys?",
    );
}

#[test]
fn nothing_is_accepted_and_then_not_enforced() {
    let later = "nothing would enforce it";
    for key in ["record", "at_end", "password"] {
        says(&rule(&format!("{key} = 1")), "10:1", later, "leave it out");
    }
    says(&parse("[defaults]\nat_end = \"kill\"\n").unwrap_err(), "2:1", later, "leave it out");
    says(&rule("mfa = \"maybe\""), "10:7", "not known", "\"none\"");
}

#[test]
fn everything_that_is_wrong_is_told_at_once_in_order() {
    let error = Policy::parse(&[(
        "main.toml".into(),
        format!(
            "{HEAD}who = [\"alcie\", \"@opps\"]\nhosts = {{}}\nsudo = {{ as = \"ALL\" }}\nmax = \"25h\"\n"
        ),
    )])
    .unwrap_err();
    let lines: Vec<usize> = error.findings().iter().map(|finding| finding.line).collect();
    assert_eq!(lines, [7, 7, 8, 9, 10], "{error}");
    assert!(error.findings().iter().all(|finding| finding.severity == Severity::Error));
}

#[test]
fn names_that_are_not_there() {
    let who = |who: &str| {
        let hosts = "hosts = { names = [\"web1\"] }\nsudo = { as = \"root\", shell = true }";
        parse(&format!("{HEAD}who = [{who}]\n{hosts}\n")).unwrap_err()
    };
    says(&who("\"alcie\""), "7:8", "there is no person \"alcie\"", "did you mean alice?");
    says(&who("\"ops\""), "7:8", "there is no person", "write \"@ops\"");
    says(&who("\"@obs\""), "7:8", "there is no group \"obs\"", "did you mean ops?");
    says(&who("\"@alice\""), "7:8", "there is no group", "without @");
    says(&who("{ group = \"nobody\" }"), "7:18", "there is no group", "[groups]");
    says(&who("{ person = \"alice\", group = \"ops\" }"), "7:8", "one group or one person", "who = ");
    says(&who(""), "7:7", "empty list", "@web-admins");
    says(&who("{ person = \"alice\", until = \"2026\" }"), "7:36", "a date", "2026-12-31");
    says(&who("{ person = \"alice\", until = 2026-12-31T10:00:00 }"), "7:36", "offset", "18:00:00Z");
    says(
        &who("{ person = \"alice\", from = 2027-01-01, until = 2026-12-31 }"),
        "7:8",
        "ends before",
        "later",
    );
    says(&parse("[people]\nalice = { manager = \"eve\" }").unwrap_err(), "2:21", "no person", "[people]");
    says(&parse("[groups]\nops = []").unwrap_err(), "2:7", "empty list", "leave the group out");
}

#[test]
fn what_a_role_must_say() {
    says(&with(""), "6:8", "sudo is missing here", "sudo = ");
    let bare = parse(&format!("{HEAD}sudo = {{ as = \"root\", shell = true }}\n")).unwrap_err();
    says(&bare, "6:8", "who is missing here", "who = ");
    says(&bare, "6:8", "hosts is missing here", "hosts = ");
    says(&with("sudo = { shell = true }"), "9:8", "as is missing", "as = \"root\"");
    says(&with("sudo = { as = \"root\" }"), "9:8", "needs run, edit or shell", "shell = true");
}

#[test]
fn reserved_words_are_no_roles() {
    let text = MAIN.replace("[roles.patch]", "[roles.approve]");
    says(&parse(&text).unwrap_err(), "38:8", "approve is a reserved word", "approve-role");
}

#[test]
fn one_policy_in_many_files() {
    let (head, tail) = MAIN.split_once("[roles.dba]").unwrap();
    let files = [("a.toml".to_owned(), head.to_owned()), ("b.toml".to_owned(), format!("[roles.dba]{tail}"))];
    let merged = Policy::parse(&files).unwrap();
    assert_eq!(merged, policy());
    assert_ne!(merged.digest(), policy().digest());
    let twice =
        [("a.toml".to_owned(), MAIN.to_owned()), ("b.toml".to_owned(), "[people]\nbob = {}\n".to_owned())];
    let error = Policy::parse(&twice).unwrap_err().to_string();
    assert!(
        error.starts_with("b.toml:2:1: error: bob is already at a.toml:9:1\n  hint: keep one"),
        "{error}"
    );
}

#[test]
fn a01_names_that_are_sudoers_syntax_are_no_people_groups_or_roles() {
    for bad in ["ALL", "#0", "%sudo", "+ng", "alice,all", "a b", "..", "é", "-x", ""] {
        for section in ["people", "groups", "roles"] {
            let error = parse(&format!("[{section}]\n\"{bad}\" = {{}}\n")).unwrap_err();
            says(&error, "2:1", "is no name", "a-z");
        }
    }
    says(&parse("[people]\nroot = {}\n").unwrap_err(), "2:1", "root is no person", "own login");
    says(
        &parse("[people]\na = { login = \"root\" }\n").unwrap_err(),
        "2:15",
        "root is no person",
        "own login",
    );
}

#[test]
fn a02_a05_negation_and_all_are_errors() {
    says(&run("run = [[\"ALL\"]]"), "9:31", "is not an absolute path", "shell = true");
    says(
        &run("run = [[\"/usr/bin/id\"], [\"!/usr/bin/passwd\"]]"),
        "9:48",
        "not an absolute path",
        "a copy of the program",
    );
    says(&run("run = [[\"/usr/bin/id\", \"!x\"]]"), "9:46", "'!'", "a copy of the program");
    says(&run("run = [[\"/usr/bin/id, ALL\"]]"), "9:31", "','", "");
    says(&run("run = [[\"/usr/bin/\"]]"), "9:31", "absolute path", "whole path");
    says(&run("run = [[\"/usr/bin/id\\nALL\"]]"), "9:31", "\\n", "");
    says(&run("edit = [\"etc/passwd\"]"), "9:31", "absolute path", "whole path");
    says(&run("run = \"ALL\""), "9:29", "a list is expected here, this is a string", "[ and ]");
    says(&run("run = [\"/usr/bin/id\"]"), "9:30", "a list of the path", "one inner list");
    says(&run("run = [[\"/usr/bin/id -u\"]]"), "9:31", "' '", "a text of its own");
    says(&run("run = []"), "9:29", "empty list", "[[");
    says(&run("run = [[]]"), "9:30", "empty list", "[[");
    says(&run("run = [[\"/usr/bin/id\", []]]"), "9:46", "empty list", "alternative");
    says(&run("run = [[\"/usr/bin/id\", \"\"]]"), "9:46", "1 to 1024 bytes", "leave the argument out");
    says(&run("run = [[\"/bin/id\"]], shell = true"), "9:8", "leave run and edit out", "alone");
    says(&run("deny = [[\"/bin/id\"]]"), "9:23", "unknown key", "");
}

#[test]
fn a06_a_negated_numeric_or_all_run_as_is_an_error() {
    for bad in ["ALL", "!root", "#0", "root,!bin", "-1", "%wheel"] {
        let error = with(&format!("sudo = {{ as = \"{bad}\", shell = true }}"));
        says(&error, "9:15", "no account to run as", "one account");
    }
    says(&with("sudo = { as = [\"root\"], shell = true }"), "9:15", "a text is expected", "double quotes");
}

#[test]
fn a07_wildcards_and_regular_expressions_are_errors() {
    for bad in ["/var/log/*", "^.*$", "[a-z]", "a?b", "$HOME"] {
        says(
            &run(&format!("run = [[\"/usr/bin/less\", \"{bad}\"]]")),
            "9:48",
            "widen a rule",
            "exact argument",
        );
    }
    says(&run("allow_wildcard = true"), "9:23", "nothing would enforce it", "leave it out");
}

#[test]
fn a08_commands_that_equal_a_shell_are_told_and_marked() {
    let policy = policy();
    let warnings = policy.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let shown = warnings[0].to_string();
    assert!(
        shown.starts_with("main.toml:41:33: warning: `/usr/bin/less /var/log/syslog` equals a shell"),
        "{shown}"
    );
    let allows = |role: &str| policy.role(&name(role)).unwrap().allows_summary();
    assert_eq!(allows("web-ops"), "runs 3 commands as root and edits 1 file as root");
    assert_eq!(allows("dba"), "runs anything as postgres");
    assert_eq!(allows("patch"), "runs 1 command as root that equals a shell");
    let edit = policy_with("/var/www/maintenance.html", "/etc/sudoers.d/x");
    assert_eq!(edit.warnings().len(), 2);
    assert_eq!(
        edit.role(&name("web-ops")).unwrap().allows_summary(),
        "runs 3 commands as root and edits 1 file as root that equals a shell"
    );
}

#[test]
fn many_warnings_hide_no_error() {
    let less: Vec<String> = (0..250).map(|n| format!("[\"/usr/bin/less\", \"/var/log/{n}\"]")).collect();
    let role = |name: &str| {
        format!("[roles.{name}]\n{ROLE}sudo = {{ as = \"root\", run = [{}] }}\n", less.join(", "))
    };
    let text = format!("[people]\nalice = {{}}\n{}{}", role("a"), role("b"));
    assert_eq!(parse(&text).unwrap().warnings().len(), 200);
    let error = parse(&format!("{text}[roles.c]\nwho = [\"alice\"]\n")).unwrap_err();
    says(&error, "11:8", "sudo is missing", "sudo = ");
    assert!(!error.contains("warning"), "{error}");
}

#[test]
fn alternatives_are_exact_commands_and_bounded() {
    let policy = policy();
    let sudo = policy.role(&name("web-ops")).unwrap().sudo().unwrap();
    let argv = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert!(sudo.allows(&argv("/usr/bin/systemctl restart nginx.service")));
    assert!(sudo.allows(&argv("/usr/bin/systemctl reload nginx.service")));
    assert!(!sudo.allows(&argv("/usr/bin/systemctl stop nginx.service")));
    let many = "[\"a\", \"b\", \"c\", \"d\", \"e\", \"f\", \"g\", \"h\"]";
    let error = run(&format!("run = [[\"/bin/x\", {many}, {many}, {many}, {many}]]"));
    says(&error, "9:30", "at most 256 exact commands, this has 512", "two roles");
}

#[test]
fn c03_cycles_of_groups_are_errors_and_depth_is_no_matter() {
    let error = parse("[groups]\na = [\"@b\"]\nb = [\"@c\"]\nc = [\"@a\"]\nd = [\"@a\"]\n").unwrap_err();
    says(&error, "2:1", "contain each other: @a > @b > @c > @a", "take one of them out");
    says(&parse("[groups]\na = [\"@a\"]\n").unwrap_err(), "2:1", "@a > @a", "take one");
    let mut deep = String::from("[people]\nalice = {}\n[groups]\ng0 = [\"alice\"]\n");
    for level in 1..10_000 {
        deep.push_str(&format!("g{level} = [\"@g{}\"]\n", level - 1));
    }
    let policy = parse(&deep).unwrap();
    assert!(policy.resolve([&Member::Group(name("g9999"))]).contains(&name("alice")));
}

#[test]
fn c09_odd_durations_are_errors() {
    for (bad, message, hint) in [
        ("90", "90 of what?", "write \"90m\""),
        ("\"90\"", "90 of what?", "write \"90m\""),
        ("\"-1h\"", "is no duration", "1h30m"),
        ("\"0s\"", "longer than nothing", "1h30m"),
        ("\"9223372036854775808s\"", "too long", "1h30m"),
        ("\"PT1000Y\"", "is no duration", "1h30m"),
        ("nan", "a text is expected here, this is a float", "quotes"),
        ("\"25h\"", "1d1h is longer than the 1d", "write \"1d\", or less"),
    ] {
        says(&rule(&format!("max = {bad}")), "10:7", message, hint);
    }
    says(&rule("duration = \"9h\""), "10:12", "longer than the default max, 8h", "max = \"9h\"");
    says(&rule("max = \"5m\"\nduration = \"6m\""), "11:12", "longer than its max, 5m", "duration = \"5m\"");
    says(&rule("max = \"5m\"\nwarn = [\"6m\"]"), "11:9", "6m is longer than the 5m", "or less");
    says(
        &parse("[defaults]\nmax = \"1h\"\nduration = \"2h\"").unwrap_err(),
        "3:12",
        "longer than the max",
        "max = ",
    );
    says(&rule("pending = \"31d\""), "10:11", "longer than", "30d");
}

#[test]
fn c10_odd_host_selectors_are_errors() {
    let hosts = |hosts: &str| {
        let text =
            format!("{HEAD}who = [\"alice\"]\nhosts = {hosts}\nsudo = {{ as = \"root\", shell = true }}\n");
        parse(&text).unwrap_err()
    };
    says(&hosts("{}"), "8:9", "would be every host", "names = [\"*\"]");
    says(&hosts("{ names = [\"web*,db*\"] }"), "8:20", "no host name or pattern", "several as a list");
    says(&hosts("{ names = [] }"), "8:19", "empty list", "leave the key out");
    says(&hosts("{ tier = [] }"), "8:18", "empty list", "leave the key out");
    says(&hosts("{ tier = \"*\" }"), "8:18", "is no name", "a-z");
    says(&hosts("{ Tier = \"web\" }"), "8:11", "is no name", "a-z");
    says(&hosts("\"web1\""), "8:9", "a table is expected", "names");
}

#[test]
fn tickets_and_approvals() {
    says(&rule("ticket = {}"), "10:10", "pattern is missing", "INC|CHG");
    says(&rule("ticket = { pattern = \"(\" }"), "10:22", "not a regular expression", "whole ticket");
    says(&rule("ticket = { pattern = \".*\" }"), "10:22", "matches an empty ticket", "whole ticket");
    says(&rule("approve = [{ need = 0, of = [\"bob\"] }]"), "10:21", "need is 1 to 16", "need = 2");
    says(&rule("approve = [{ need = -1, of = [\"bob\"] }]"), "10:21", "a whole number", "");
    says(&rule("approve = [{ of = [\"bob\"] }]"), "10:12", "need is missing", "need = 2");
    says(&rule("approve = [{ need = 1, of = [] }]"), "10:29", "empty list", "of = ");
    says(&rule("approve = [{ need = 1, of = [\"bbo\"] }]"), "10:30", "no person", "[people]");
    says(&rule("approve = [{ need = 3, of = [\"bob\", \"@ops\"] }]"), "10:12", "names 2 people", "need = 2");
    says(&rule("reason = \"maybe\""), "10:10", "not known", "\"optional\"");
}

#[test]
fn keys_of_people() {
    let data =
        |file: &str| std::fs::read_to_string(format!("tests/data/{file}.pub")).unwrap().trim().to_owned();
    for good in ["alice", "p256", "p384", "p521", "rsa3072", "sked", "skec"] {
        let text = data(good);
        let policy = parse(&format!("[people]\nalice = {{ keys = [\"{text}\"] }}\n")).unwrap();
        let print = PublicKey::from_openssh(&text).unwrap().fingerprint(HashAlg::Sha256);
        assert_eq!(policy.person_by_key(&print).unwrap().name, name("alice"), "{good}");
    }
    let refused = |key: &str| parse(&format!("[people]\nalice = {{ keys = [\"{key}\"] }}\n")).unwrap_err();
    says(&refused(&data("rsa2048")), "2:19", "has 2048 bits, at least 3072", "ed25519");
    says(&refused(&data("bob-cert")), "2:19", "certificate", "plain public key");
    says(&refused(&format!("no-pty {}", data("alice"))), "2:19", "no plain public key", ".pub");
    says(&refused("ssh-ed25519 AAAA alice"), "2:19", "no plain public key", ".pub");
    says(&refused("x\\ny"), "2:19", "one line", ".pub");
    let shared =
        format!("[people]\nalice = {{ keys = [\"{0}\"] }}\nbob = {{ keys = [\"{0}\"] }}\n", data("alice"));
    says(&parse(&shared).unwrap_err(), "3:17", "already at main.toml:2:19", "one person");
    let logins = "[people]\nalice = {}\nbob = { login = \"alice\" }\n";
    says(&parse(logins).unwrap_err(), "3:17", "already at main.toml:2:1", "own login");
    says(&parse("[people]\na = { login = \"x:0\" }").unwrap_err(), "2:15", "no login", "id -un");
    assert_eq!(policy().person_by_login(&"bsmith".parse().unwrap()).unwrap().name, name("bob"));
    assert_eq!(policy().person_by_login(&"bob".parse().unwrap()), None);
}

#[test]
fn defaults_are_written_out_and_give_way() {
    let policy = policy();
    let shown = policy.show_effective();
    assert_eq!(parse(&shown).unwrap(), policy, "{shown}");
    assert_eq!(policy.role(&name("web-ops")).unwrap().max.to_string(), "4h");
    assert!(shown.contains("until = 2027-01-01T00:00:00Z"), "through the end of 2026-12-31: {shown}");
    let short = parse(&format!(
        "{HEAD}{ROLE}sudo = {{ as = \"root\", shell = true }}\nmax = \"1m\"\nwarn = [\"20s\"]"
    ));
    assert_eq!(short.unwrap().role(&name("x")).unwrap().duration.to_string(), "1m");
    assert_eq!(parse("").unwrap().people().count(), 0);
}

#[test]
fn administration_is_a_role_of_its_own_with_parts_that_exist_and_a_factor() {
    let role =
        |more: &str| parse(&format!("[people]\nalice = {{}}\n[roles.keepers]\nwho = [\"alice\"]\n{more}\n"));
    let policy = role("admin = [\"locks\", \"people\", \"locks\"]").unwrap();
    let keepers = policy.role(&name("keepers")).unwrap();
    assert_eq!(keepers.allows_summary(), "administers Elevate: people, locks");
    assert!(keepers.administers(AdminPart::Locks) && !keepers.administers(AdminPart::Audit));
    let shown = parse(&policy.show_effective()).unwrap();
    assert_eq!(shown.role(&name("keepers")), Some(keepers));
    for (more, says_so) in [
        ("admin = []", "empty list"),
        ("admin = [\"everything\"]", "no part of the administration"),
        ("admin = [\"audit\"]\nhosts = { names = [\"*\"] }", "has no hosts"),
        ("admin = [\"audit\"]\nsudo = { as = \"root\", shell = true }", "has no sudo"),
        ("admin = [\"audit\"]\noffline = \"to-end\"", "has no offline"),
        ("admin = [\"audit\"]\nmfa = \"none\"", "second factor"),
    ] {
        let error = role(more).unwrap_err();
        assert!(error.contains(says_so), "{more}: {error}");
    }
}
