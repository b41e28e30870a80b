//! What a call of sudo is for, as far as its own words say it surely.
//!
//! In: the arguments of the sudo process, from the kernel. Out: [`Intent`]; whatever is not surely something else is a command.
//! Spec: sudo(8), and sudo-rs's own reading of the same options.

use elevate_protocol::text::UntrustedText;

/// More words than are ever looked at; a call with so many is a command.
const WORDS_MAX: usize = 64;

/// What a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intent {
    /// `-l` or `-v`: nothing is run.
    Look,
    /// A file is edited, under either name.
    Edit,
    /// Everything else.
    Command,
}

/// Reads the words of a sudo process.
pub(crate) fn intent(argv: &[UntrustedText]) -> Intent {
    let words: Vec<&str> = argv.iter().map(UntrustedText::raw).collect();
    let Some((program, rest)) = words.split_first() else { return Intent::Command };
    // Both sudos go by the last part of their own name.
    match program.rsplit('/').next() {
        Some("sudoedit") => Intent::Edit,
        Some("sudo") if words.len() < WORDS_MAX && looks(rest) => Intent::Look,
        Some("sudo") if edits(rest) => Intent::Edit,
        Some(_) | None => Intent::Command,
    }
}

/// Options from a short list only, `l` or `v` among them and not both; behind `-v` nothing, behind `-l` a command that is looked at
/// and not run. An option that takes a value is not in the list, so no word can be one.
fn looks(rest: &[&str]) -> bool {
    let end = rest.iter().position(|word| !word.starts_with('-') || *word == "-").unwrap_or(rest.len());
    let (options, words) = rest.split_at(end);
    let (mut lists, mut validates) = (false, false);
    for option in options {
        match *option {
            "--list" => lists = true,
            "--validate" => validates = true,
            "--non-interactive" | "--stdin" | "--askpass" => {}
            long if long.starts_with("--") => return false,
            short => {
                let letters = short.trim_start_matches('-');
                if letters.is_empty() || !letters.chars().all(|letter| "lvnSA".contains(letter)) {
                    return false;
                }
                lists |= letters.contains('l');
                validates |= letters.contains('v');
            }
        }
    }
    (lists && !validates) || (validates && !lists && words.is_empty())
}

/// `-e` among the options before the first word that is none. Only a report depends on it.
fn edits(rest: &[&str]) -> bool {
    let mut options = rest.iter().take_while(|word| word.starts_with('-') && **word != "--");
    options.any(|word| *word == "--edit" || (!word.starts_with("--") && word.contains('e')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &str) -> Intent {
        let words: Vec<UntrustedText> = words.split(' ').map(UntrustedText::lossy).collect();
        intent(&words)
    }

    #[test]
    fn what_surely_runs_nothing_is_known() {
        for words in [
            "sudo -l",
            "sudo -ll",
            "sudo -nl",
            "sudo -n -l",
            "sudo -l -n",
            "sudo --list",
            "/usr/bin/sudo -l",
            "sudo -v",
            "sudo -nv",
            "sudo --validate --non-interactive",
            "sudo -S -v",
            "sudo -A -l",
            "sudo -l /usr/bin/id -u",
            "sudo -l id -v",
        ] {
            assert_eq!(of(words), Intent::Look, "{words}");
        }
    }

    #[test]
    fn whatever_is_unclear_is_a_command() {
        for words in [
            "sudo id",
            "sudo id -l",
            "sudo -- -l",
            "sudo -l --",
            "sudo -- id -l",
            "sudo -u root -l",
            "sudo -u -l id",
            "sudo -lu root",
            "sudo -U bob -l",
            "sudo -lU bob",
            "sudo -l -v",
            "sudo -lv",
            "sudo -v id",
            "sudo -k -v",
            "sudo -kv",
            "sudo -K",
            "sudo -i",
            "sudo -s",
            "sudo -l -s",
            "sudo -ls",
            "sudo -l -i",
            "sudo -p -l id",
            "sudo --list=x",
            "sudo --lis",
            "sudo --prompt -l id",
            "sudo - -l",
            "sudo",
            "xsudo -l",
            "sudoreplay -l",
            "su -l",
            "-sudo -l",
            "sudo -g -l id",
            "sudo -lb",
            "sudo -l -b id",
            "sudo -n",
            "sudo -E -l",
            "sudo A=-l id",
            "sudo --validate id",
            "sudo -\u{fffd}l",
        ] {
            assert_eq!(of(words), Intent::Command, "{words}");
        }
        assert_eq!(intent(&[]), Intent::Command);
        let many = vec![UntrustedText::lossy("-l"); WORDS_MAX];
        let many: Vec<UntrustedText> = [UntrustedText::lossy("sudo")].into_iter().chain(many).collect();
        assert_eq!(intent(&many), Intent::Command);
    }

    #[test]
    fn an_edit_is_known_by_either_name() {
        for words in [
            "sudoedit /etc/motd",
            "/usr/bin/sudoedit -n /etc/motd",
            "sudo -e /etc/motd",
            "sudo -n -e x",
            "sudo --edit x",
        ] {
            assert_eq!(of(words), Intent::Edit, "{words}");
        }
        assert_eq!(of("sudo -- -e"), Intent::Command);
        assert_eq!(of("sudo id -e"), Intent::Command);
        assert_eq!(of("sudo -l -e x"), Intent::Edit, "the sudo refuses that");
    }
}
