//! The machine's own apt sources, cut down to its own release, or to the same suites of another one.
//!
//! In: `/etc/apt/sources.list`, `/etc/apt/sources.list.d/`. Out: texts of both formats.
//! Runs as: part of `testbed tree`. Spec: sources.list(5).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

/// Sources of one release, in the two formats apt knows.
#[derive(Debug, Default)]
pub struct Sources {
    /// Lines `deb [options] uri suite component…`.
    pub one_line: String,
    /// Stanzas of the deb822 format.
    pub deb822: String,
}

/// Every source of this machine that serves its release `own`, the updates or the security fixes, as sources of `release`:
/// the same archive has both.
///
/// # Errors
/// A file cannot be read, or nothing serves the release.
pub fn of_this_machine(own: &str, release: &str) -> Result<Sources> {
    let found = of_release(own)?;
    let renamed = |text: &str| -> String {
        text.lines().flat_map(|line| [renamed_line(line, own, release), "\n".to_owned()]).collect()
    };
    Ok(Sources { one_line: renamed(&found.one_line), deb822: renamed(&found.deb822) })
}

/// A line of a source with the suites of `own` as those of `release`; every other line as it is.
fn renamed_line(line: &str, own: &str, release: &str) -> String {
    let names_suites = line.starts_with("deb ") || line.to_ascii_lowercase().starts_with("suites:");
    if own == release || !names_suites {
        return line.to_owned();
    }
    let word = |word: &str| match word.strip_prefix(own) {
        Some(rest) if serves(word, own) => format!("{release}{rest}"),
        Some(_) | None => word.to_owned(),
    };
    line.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn of_release(release: &str) -> Result<Sources> {
    let mut found = Sources::default();
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(dir) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(dir.flatten().map(|entry| entry.path()));
    }
    files.sort();
    for file in files.iter().filter(|f| f.exists()) {
        let is = |ending: &str| Path::new(file).extension().is_some_and(|e| e == ending);
        if is("list") {
            found.one_line.push_str(&lines_for(&fs::read_to_string(file)?, release));
        } else if is("sources") {
            found.deb822.push_str(&stanzas_for(&fs::read_to_string(file)?, release));
        }
    }
    let none = found.one_line.is_empty() && found.deb822.is_empty();
    ensure!(!none, "no apt source of this machine serves {release}");
    Ok(found)
}

fn serves(suite: &str, release: &str) -> bool {
    matches!(suite.strip_prefix(release), Some("" | "-updates" | "-security" | "/updates"))
}

fn lines_for(text: &str, release: &str) -> String {
    let wanted = |line: &&str| {
        let plain = match (line.find('['), line.find(']')) {
            (Some(_), Some(close)) => line.get(close..).unwrap_or_default(),
            _ => line,
        };
        line.starts_with("deb ")
            && plain.split_whitespace().nth(2).is_some_and(|suite| serves(suite, release))
    };
    text.lines().map(str::trim).filter(wanted).flat_map(|line| [line, "\n"]).collect()
}

fn stanzas_for(text: &str, release: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let stanzas = lines.split(|line| line.trim().is_empty());
    stanzas.filter_map(|stanza| stanza_for(stanza, release)).collect()
}

fn stanza_for(stanza: &[&str], release: &str) -> Option<String> {
    let field = |name: &str| {
        stanza.iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    };
    let suites: Vec<&str> = field("Suites")?.split_whitespace().filter(|s| serves(s, release)).collect();
    let binary = field("Types")?.split_whitespace().any(|t| t == "deb");
    let off = field("Enabled").is_some_and(|v| v.trim().eq_ignore_ascii_case("no"));
    if suites.is_empty() || !binary || off {
        return None;
    }
    let mut kept = format!("Types: deb\nSuites: {}\n", suites.join(" "));
    let replaced = |line: &str| {
        let key = line.split(':').next().unwrap_or_default();
        ["suites", "types", "enabled"].contains(&key.to_ascii_lowercase().as_str())
    };
    for line in stanza.iter().filter(|line| !replaced(line)) {
        kept.push_str(line);
        kept.push('\n');
    }
    Some(kept + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_of_the_release_are_kept() {
        let text = "# deb http://a.test x main\n\
                    deb [signed-by=/k arch=amd64] http://a.test/debian bookworm main\n\
                    deb http://b.test/tools bookworm-tools main\n\
                    deb-src http://a.test/debian bookworm main\n\
                    deb http://a.test/sec bookworm-security main\n";
        let kept = lines_for(text, "bookworm");
        assert_eq!(
            kept,
            "deb [signed-by=/k arch=amd64] http://a.test/debian bookworm main\n\
             deb http://a.test/sec bookworm-security main\n"
        );
    }

    #[test]
    fn another_release_has_the_same_suites_in_the_same_archive() {
        let line = "deb [signed-by=/usr/bookworm.gpg] http://a.test/debian bookworm-security main";
        let trixie = "deb [signed-by=/usr/bookworm.gpg] http://a.test/debian trixie-security main";
        assert_eq!(renamed_line(line, "bookworm", "trixie"), trixie);
        assert_eq!(
            renamed_line("Suites: bookworm bookworm-updates", "bookworm", "trixie"),
            "Suites: trixie trixie-updates"
        );
        assert_eq!(
            renamed_line("Signed-By: /usr/share/bookworm.gpg", "bookworm", "trixie"),
            "Signed-By: /usr/share/bookworm.gpg"
        );
    }

    #[test]
    fn stanzas_keep_their_keyring_and_lose_foreign_suites() {
        let text = "Types: deb deb-src\n# note\nURIs: http://a.test\nSuites: trixie trixie-updates trixie-x\n\
                    Components: main\nSigned-By:\n -----BEGIN\n .\n\nTypes: deb\nURIs: http://b.test\n\
                    Suites: stable\n\nEnabled: no\nTypes: deb\nSuites: trixie\n";
        let kept = stanzas_for(text, "trixie");
        assert_eq!(
            kept,
            "Types: deb\nSuites: trixie trixie-updates\nURIs: http://a.test\nComponents: main\n\
             Signed-By:\n -----BEGIN\n .\n\n"
        );
    }
}
