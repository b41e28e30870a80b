//! Plan, renderer and reader, held against each other.
//!
//! In: generated and hostile input. Out: threats A02, A03, A06, A14 to A18, C09.

use std::collections::{BTreeMap, BTreeSet};

use elevate_protocol::signed::LiveGrant;
use elevate_protocol::time::{Span, Timestamp};
use proptest::prelude::*;

use super::check::{self, CheckError};
use super::plan::{Action, InForce, plan};
use super::reader::{self, DropIn, ReadError};
use super::reconcile::{Finding, Wanted, reconcile};
use super::samples::{self, NOW, extended, grant, held, parts, runs};
use super::{install, render};
use crate::ceiling::{Beyond, Ceiling};
use crate::flavour::Dialect;
use crate::paths::Paths;
use crate::store::documents::Held;

const NGINX: &str =
    r#"{"as":"root","run":[["/usr/bin/systemctl","restart","nginx.service"],["/usr/bin/id"]]}"#;

fn live<'a>(held: &'a [Held]) -> Vec<LiveGrant<'a>> {
    held.iter().map(|held| held.verified.live(NOW).unwrap()).collect()
}

fn text(held: &[Held]) -> String {
    render::drop_in(Dialect::Classic, 2000, &live(held)).unwrap()
}

#[test]
fn the_drop_in_has_the_one_form_there_is() {
    let edit = runs(r#"{"as":"deploy","edit":["/etc/app.conf"],"run":[["/usr/bin/env","A=b:c,d"]]}"#);
    let grants = [held(grant(9, 2000, runs(NGINX))), held(grant(3, 2000, edit))];
    let (first, second) = (grants[1].verified.grant().id, grants[0].verified.grant().id);
    assert_eq!(
        text(&grants),
        format!(
            "# elevate grants {first} {second}\n\
             #2000 ALL=(deploy) NOTAFTER=20261121205959Z NOPASSWD: /usr/bin/env A\\=b\\:c\\,d\n\
             #2000 ALL=(deploy) NOTAFTER=20261121205959Z NOPASSWD: sudoedit /etc/app.conf\n\
             #2000 ALL=(root) NOTAFTER=20261121205959Z NOPASSWD: /usr/bin/id \"\"\n\
             #2000 ALL=(root) NOTAFTER=20261121205959Z NOPASSWD: /usr/bin/systemctl restart nginx.service\n"
        )
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]
    /// THREATS X-j: a syntax check is no validation; the text must say exactly what was granted.
    #[test]
    fn a03_every_drop_in_reads_back_as_its_grants(part in parts(), uid in 1000u32..4_000_000_000, more in 1u32..86_400) {
        let mut terms = grant(5, uid, part);
        terms.not_after = NOW.after(Span(more));
        let one = [held_unsigned(terms)];
        let grants = live(&one);
        for dialect in [Dialect::Classic, Dialect::Rs] {
            let text = render::drop_in(dialect, uid, &grants).unwrap();
            prop_assert_eq!(reader::prove(dialect, &text, uid, &grants), Ok(()));
            prop_assert_eq!(reader::read(&text).unwrap(), reader::intended(dialect, uid, &grants));
            prop_assert_eq!(text.contains("NOTAFTER"), dialect == Dialect::Classic);
            a18_no_defaults_and_a16_only_host_all(&text)?;
        }
    }

    #[test]
    fn a03_no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
        drop(reader::read(&text));
    }
}

fn held_unsigned(terms: elevate_protocol::document::Grant) -> Held {
    held(terms)
}

fn a18_no_defaults_and_a16_only_host_all(text: &str) -> Result<(), TestCaseError> {
    prop_assert!(!text.contains("Defaults") || text.contains("/"), "{}", text);
    for (index, line) in text.lines().enumerate() {
        if index > 0 {
            prop_assert!(
                line.starts_with('#')
                    && line.contains(" ALL=(")
                    && (line.contains(") NOTAFTER=") || line.contains(") NOPASSWD: ")),
                "{}",
                line
            );
            prop_assert!(
                !line.contains("SETENV")
                    || line.split("NOPASSWD: ").next().is_some_and(|l| !l.contains("SETENV"))
            );
            prop_assert!(!line.contains("NOTBEFORE=") || line.contains("NOPASSWD: "));
        }
    }
    Ok(())
}

#[test]
fn a02_what_visudo_accepts_our_reader_refuses() {
    let id = held(grant(5, 2000, runs(NGINX))).verified.grant().id;
    let head = format!("# elevate grants {id}\n");
    let rule = "#2000 ALL=(root) NOTAFTER=20261121205959Z NOPASSWD: /usr/bin/id \"\"\n";
    assert!(reader::read(&format!("{head}{rule}")).is_ok());
    for (bad, expected) in [
        (format!("{head}{}", rule.replace("#2000", "ALL")), ReadError::Line { line: 2 }),
        (format!("{head}{}", rule.replace("#2000", "%#2000")), ReadError::Line { line: 2 }),
        (format!("{head}{}", rule.replace("#2000", "#02000")), ReadError::Line { line: 2 }),
        (format!("{head}{}", rule.replace("ALL=", "web1=")), ReadError::Line { line: 2 }),
        (format!("{head}{}", rule.replace("(root)", "(ALL)")), ReadError::Line { line: 2 }),
        (format!("{head}{}", rule.replace("(root)", "(!root)")), ReadError::Line { line: 2 }),
        (format!("{head}{}", rule.replace("(root)", "(root : wheel)")), ReadError::Line { line: 2 }),
        (format!("{head}{}", rule.replace("59Z", "59")), ReadError::Line { line: 2 }),
        (format!("{head}{}", rule.replace("NOPASSWD:", "NOPASSWD: SETENV:")), ReadError::Line { line: 2 }),
        (format!("{head}{}", rule.replace(" \"\"", "")), ReadError::Line { line: 2 }),
        (format!("{head}{}", rule.replace(" \"\"", ", ALL")), ReadError::Line { line: 2 }),
        (format!("{head}{}", rule.replace("/usr/bin/id", "^/usr/bin/.*$")), ReadError::Line { line: 2 }),
        (format!("{head}{}", rule.replace("/usr/bin/id", "/usr/bin/../bin/id")), ReadError::Line { line: 2 }),
        (format!("{head}{rule}{rule}"), ReadError::Order),
        (format!("{head}{rule}Defaults !authenticate\n"), ReadError::Line { line: 3 }),
        (format!("{head}{}", rule.replace("\n", "\\\n")), ReadError::Line { line: 2 }),
        (format!("{head}#include /etc/evil\n"), ReadError::Line { line: 2 }),
        (head.clone(), ReadError::Order),
        (rule.to_owned(), ReadError::Head),
        (format!("{head}{}", rule.trim_end()), ReadError::Head),
        (String::new(), ReadError::Head),
    ] {
        assert_eq!(reader::read(&bad), Err(expected), "{bad}");
    }
}

#[test]
fn a03_a_text_that_says_something_else_is_not_installed() {
    let grants = [held(grant(5, 2000, runs(NGINX)))];
    let text = text(&grants);
    for (from, to) in [("#2000", "#2001"), ("(root)", "(bin)"), ("restart", "reload"), ("59Z", "58Z")] {
        assert_eq!(
            reader::prove(Dialect::Classic, &text.replace(from, to), 2000, &live(&grants)),
            Err(ReadError::Different)
        );
    }
    let DropIn { ids, .. } = reader::read(&text).unwrap();
    assert_eq!(ids.len(), 1);
}

/// THREATS X-c: nothing is there before the start, so NOTBEFORE is never relied on.
#[test]
fn a15_nothing_is_planned_before_the_start_or_after_the_end() {
    let mut later = grant(5, 2000, runs(NGINX));
    later.not_before = NOW.after(Span::HOUR);
    later.not_after = NOW.after(Span(7200));
    let later = held(later);
    assert!(later.verified.live(NOW).is_err());
    assert!(matches!(check::terms(&later.verified, NOW), Err(CheckError::NotYet { wait: Span(3600) })));
    let over = held(grant(5, 2000, runs(NGINX)));
    assert!(over.verified.live(NOW.after(Span::HOUR)).is_err());
    assert!(samples::ended(&over).verified.live(NOW).is_err());
    let installed = BTreeSet::from([over.verified.grant().id]);
    let id = over.verified.grant().id;
    assert_eq!(
        plan(Dialect::Classic, 2000, &[], &installed),
        Ok(vec![Action::RemoveDropIn { uid: 2000 }, Action::RemoveGrant { uid: 2000, id }])
    );
}

#[test]
fn a_rule_appears_after_its_grant_and_goes_before_it() {
    let grants = [held(grant(5, 2000, runs(NGINX))), held(grant(6, 2000, runs(NGINX)))];
    let texts: Vec<String> = grants.iter().map(|held| held.signed.to_text()).collect();
    let both: Vec<InForce<'_>> =
        live(&grants).into_iter().zip(&texts).map(|(live, text)| InForce { live, text }).collect();
    let actions = plan(Dialect::Classic, 2000, &both, &BTreeSet::new()).unwrap();
    assert!(matches!(
        actions.as_slice(),
        [Action::WriteGrant { .. }, Action::WriteGrant { .. }, Action::WriteDropIn { .. }]
    ));
    let installed = grants.iter().map(|held| held.verified.grant().id).collect();
    let actions = plan(Dialect::Classic, 2000, &both[..1], &installed).unwrap();
    let gone = grants[1].verified.grant().id;
    assert!(matches!(
        actions.as_slice(),
        [Action::WriteGrant { .. }, Action::WriteDropIn { .. }, Action::RemoveGrant { id, .. }] if *id == gone
    ));
}

#[test]
fn a14_an_end_that_sudoers_cannot_write_is_refused() {
    let mut terms = grant(5, 2000, runs(NGINX));
    terms.not_after = Timestamp(253_402_300_801);
    let grants = [held(terms)];
    assert!(render::drop_in(Dialect::Classic, 2000, &live(&grants)).is_err());
    assert!(Ceiling::default().check(&grants[0].verified).is_err());
}

#[test]
fn b02_system_accounts_and_c09_long_rights_are_refused() {
    for uid in [0, 1, 999, 65_534, u32::MAX - 1, u32::MAX] {
        let held = held(grant(5, uid, runs(NGINX)));
        assert!(
            matches!(check::terms(&held.verified, NOW), Err(CheckError::SystemUid { uid: found }) if found == uid)
        );
    }
    let mut day = grant(5, 2000, runs(NGINX));
    day.not_after = NOW.after(Span::DAY);
    let day = held(day);
    assert!(check::terms(&day.verified, NOW).is_ok() && Ceiling::default().check(&day.verified).is_ok());
    let longer = extended(&day, NOW.after(Span(86_401)));
    assert!(matches!(
        Ceiling::default().check(&longer.verified),
        Err(Beyond::Longest { found: Span(86_461), .. })
    ));
    assert!(matches!(check::terms(&day.verified, NOW.after(Span::DAY)), Err(CheckError::Over)));
}

/// The account of this very machine: root is uid 0, whatever a grant says.
#[test]
fn c11_a_login_that_is_another_account_is_refused() {
    let mut terms = grant(5, 2000, runs(NGINX));
    terms.login = "root".parse().unwrap();
    assert!(matches!(check::account(&terms), Err(CheckError::OtherAccount { found: 0, granted: 2000, .. })));
    terms.login = "no-such-login".parse().unwrap();
    assert!(matches!(check::account(&terms), Err(CheckError::NoAccount { .. })));
}

fn place() -> (tempfile::TempDir, Paths) {
    let place = tempfile::tempdir().unwrap();
    let paths = Paths::below(place.path());
    for folder in [&paths.sudoers, &paths.grants] {
        std::fs::create_dir_all(folder).unwrap();
    }
    (place, paths)
}

#[test]
fn a17_only_what_live_grants_account_for_stays() {
    use std::os::unix::fs::symlink;
    let (place, paths) = place();
    let mine = held(grant(5, 2000, runs(NGINX)));
    let (id, proof) = (mine.verified.grant().id, mine.signed.to_text());
    let grants = [InForce { live: mine.verified.live(NOW).unwrap(), text: &proof }];
    let actions = plan(Dialect::Classic, 2000, &grants, &BTreeSet::new()).unwrap();
    install::perform(&paths, &actions).unwrap();
    let drop_in = text(std::slice::from_ref(&mine));
    let wants = Wanted { drop_in: drop_in.clone(), grants: BTreeMap::from([(id, proof)]) };
    let wanted = BTreeMap::from([(2000, wants)]);
    assert_eq!(reconcile(&paths, &wanted, &BTreeSet::new()).unwrap(), []);
    // What somebody with root for an hour might leave: each goes, nothing is followed.
    let secret = place.path().join("shadow");
    std::fs::write(&secret, "secret").unwrap();
    symlink(&secret, paths.sudoers.join("u2001")).unwrap();
    nix::unistd::mkfifo(&paths.sudoers.join("u2002"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::fs::create_dir_all(paths.sudoers.join("u2003/deep")).unwrap();
    std::fs::hard_link(&secret, paths.grants.join("evil")).unwrap();
    std::fs::write(paths.sudoers.join("zz"), "ALL ALL=(ALL) NOPASSWD: ALL\n").unwrap();
    std::fs::write(paths.grants.join("u2000/other"), "x").unwrap();
    let found = reconcile(&paths, &wanted, &BTreeSet::new()).unwrap();
    assert_eq!(found.len(), 6);
    assert!(found.iter().all(|finding| matches!(finding, Finding::Foreign(_))), "{found:?}");
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "secret");
    assert_eq!(std::fs::read_to_string(install::drop_in(&paths, 2000)).unwrap(), drop_in);
    // A changed drop-in goes with an alarm; one of a grant that is merely over goes without.
    std::fs::write(install::drop_in(&paths, 2000), drop_in.replace("restart", "stop")).unwrap();
    let found = reconcile(&paths, &wanted, &BTreeSet::new()).unwrap();
    assert!(matches!(found.as_slice(), [Finding::Foreign(_)]), "{found:?}");
    install::perform(&paths, &actions).unwrap();
    let found = reconcile(&paths, &BTreeMap::new(), &BTreeSet::from([id])).unwrap();
    assert!(matches!(found.as_slice(), [Finding::Swept(_), Finding::Swept(_)]), "{found:?}");
    assert!(
        !install::drop_in(&paths, 2000).exists()
            && crate::safe::names(&install::grants(&paths, 2000)).unwrap().is_empty()
    );
}

#[test]
fn a10_names_on_disk_come_from_numbers_and_ids_alone() {
    for name in ["u2000.", "u2000~", "u+2000", "u02000", "u-1", "u2000/..", "2000", "u99999999999", "u"] {
        assert_eq!(install::uid_of(name), None, "{name}");
    }
    assert_eq!(install::uid_of("u2000"), Some(2000));
}
