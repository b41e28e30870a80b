//! The offer: what a person without a grant may activate here, said before sudo's own refusal.
//!
//! In: the agent's offers file, the arguments of sudo. Out: one line, or nothing. It decides nothing: whatever is wrong, there is no offer.

use std::collections::BTreeMap;

use elevate_protocol::name::{Login, Name};
use elevate_protocol::text::UntrustedText;

use crate::caller::Caller;
use crate::files;
use crate::gate;
use crate::paths::Paths;
use crate::talk::Line;

/// Longest offers file in bytes.
const OFFERS_MAX: u64 = 1024 * 1024;
/// Most roles in one line.
const ROLES_SHOWN: usize = 8;

/// The line for this login, if there is something to offer and no grant to use.
pub(crate) fn line(paths: &Paths, caller: &Caller, login: &str) -> Option<Line> {
    if caller.uid == 0 || gate::is_managed(paths, caller.uid) {
        return None;
    }
    let login: Login = login.parse().ok()?;
    let text = files::read(&paths.offers, OFFERS_MAX).ok()?;
    let offers: BTreeMap<Login, Vec<Name>> = serde_json::from_str(&text).ok()?;
    let roles = offers.get(&login).filter(|roles| !roles.is_empty())?;
    let shown: Vec<String> = roles.iter().take(ROLES_SHOWN).map(|role| format!("elevate {role}")).collect();
    let more = if roles.len() > ROLES_SHOWN { ", … (all: elevate)" } else { "" };
    let why = command(&caller.argv).unwrap_or_else(|| "COMMAND".to_owned());
    let shown = shown.join(", ");
    Some(Line::new(&format!(
        "no active grant here. You may activate: {shown}{more}   (why: elevate why -- {why})"
    )))
}

/// The command of `sudo …`, when it is plain enough to be typed again as it is shown.
fn command(argv: &[UntrustedText]) -> Option<String> {
    let mut rest = argv.iter().map(UntrustedText::raw).skip(1).peekable();
    while let Some(option) = rest.next_if(|word| word.starts_with('-')) {
        match option {
            "--" => break,
            "-n" | "-S" | "-k" | "-b" | "-E" | "-H" | "-A" => {}
            "-u" | "-g" | "-p" => {
                rest.next()?;
            }
            _ => return None,
        }
    }
    let words: Vec<&str> = rest.collect();
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+./-=:,".contains(c);
    let fits = words.iter().all(|word| !word.is_empty() && word.chars().all(plain));
    (fits && !words.is_empty()).then(|| words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn argv(words: &[&str]) -> Vec<UntrustedText> {
        words.iter().map(|word| UntrustedText::lossy(word)).collect()
    }

    fn caller(uid: u32, words: &[&str]) -> Caller {
        Caller { uid, argv: argv(words), directory: None, pid: 1, age: std::time::Duration::ZERO }
    }

    #[test]
    fn commands_are_shown_only_when_they_can_be_typed_again() {
        let shown = |words: &[&str]| command(&argv(words));
        assert_eq!(
            shown(&["sudo", "-n", "-u", "www", "systemctl", "restart", "nginx"]).as_deref(),
            Some("systemctl restart nginx")
        );
        assert_eq!(shown(&["sudo", "--", "id"]).as_deref(), Some("id"));
        for words in [
            &["sudo"][..],
            &["sudo", "-l"],
            &["sudo", "-i"],
            &["sudo", "a;b"],
            &["sudo", "id", "\x1b[0m"],
            &["sudo", "-u"],
        ] {
            assert_eq!(shown(words), None, "{words:?}");
        }
    }

    #[test]
    fn only_the_own_roles_are_offered_and_only_without_a_grant() {
        let place = tempfile::tempdir().unwrap();
        let mut paths = Paths::installed();
        paths.offers = place.path().join("offers.json");
        paths.dropins = place.path().join("sudoers.d");
        std::fs::create_dir(&paths.dropins).unwrap();
        std::fs::write(&paths.offers, r#"{"alice":["web-ops","dba"],"bob":[]}"#).unwrap();
        let words = ["sudo", "systemctl", "restart", "nginx"];
        let said = line(&paths, &caller(2000, &words), "alice").unwrap();
        assert_eq!(
            said.as_str(),
            "elevate: no active grant here. You may activate: elevate web-ops, elevate dba   (why: elevate why -- systemctl restart nginx)"
        );
        assert_eq!(line(&paths, &caller(2001, &words), "bob"), None);
        assert_eq!(line(&paths, &caller(2001, &words), "mallory"), None);
        assert_eq!(line(&paths, &caller(0, &words), "alice"), None);
        std::fs::write(paths.dropins.join("u2000"), "x").unwrap();
        assert_eq!(line(&paths, &caller(2000, &words), "alice"), None);
        std::fs::remove_file(paths.dropins.join("u2000")).unwrap();
        std::fs::set_permissions(&paths.offers, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(line(&paths, &caller(2000, &words), "alice"), None, "written by anybody");
    }
}
