//! The answer that the name service would give from its first place, where that is /etc/passwd.
//!
//! In: nsswitch.conf(5), passwd(5). Out: an account, or none: then the name service itself is asked. An entry that is in the file is
//! what getent(1) prints, as long as `files` comes first and nothing is said about going on after it was found.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::{Account, entry};

/// Longest file that is looked through; a longer one is the name service's own matter.
const FILE_MAX: u64 = 4 * 1024 * 1024;

/// The two files.
#[derive(Debug, Clone, Copy)]
pub(super) struct Files<'a> {
    switch: &'a Path,
    passwd: &'a Path,
}

impl Files<'static> {
    /// Those of this host.
    pub(super) fn system() -> Self {
        Self { switch: Path::new("/etc/nsswitch.conf"), passwd: Path::new("/etc/passwd") }
    }
}

fn lines(path: &Path) -> Option<impl Iterator<Item = String>> {
    let file = File::open(path).ok()?;
    let meta = file.metadata().ok()?;
    let fits = meta.is_file() && meta.len() <= FILE_MAX;
    fits.then(|| BufReader::new(file.take(FILE_MAX)).lines().map_while(Result::ok))
}

/// Whether `files` is asked first, and an answer of it is the answer.
fn files_first(switch: &Path) -> bool {
    let Some(mut lines) = lines(switch) else { return false };
    let Some(line) = lines.find_map(|line| line.trim_start().strip_prefix("passwd:").map(str::to_owned))
    else {
        return false;
    };
    let mut words = line.split_whitespace();
    words.next() == Some("files") && words.next().is_none_or(|next| !next.starts_with('['))
}

/// The account of a login, when it stands in the file.
pub(super) fn by_login(files: &Files<'_>, login: &str) -> Option<Account> {
    if !files_first(files.switch) {
        return None;
    }
    // The first line with the name counts, whatever else it says.
    let line = lines(files.passwd)?.find(|line| line.split(':').next() == Some(login))?;
    entry(&line).filter(|account| account.login.as_str() == login)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nalice:x:2000:2000::/:/bin/sh\nalice:x:0:0::/:/bin/sh\nbad:x:x:1::/:/\n";

    fn found(switch: &str, login: &str) -> Option<u32> {
        let place = tempfile::tempdir().unwrap();
        let (first, second) = (place.path().join("nsswitch.conf"), place.path().join("passwd"));
        std::fs::write(&first, switch).unwrap();
        std::fs::write(&second, PASSWD).unwrap();
        by_login(&Files { switch: &first, passwd: &second }, login).map(|account| account.uid)
    }

    #[test]
    fn the_first_line_of_a_login_counts_where_files_are_asked_first() {
        for switch in ["passwd: files systemd\n", "# x\n  passwd:\tfiles\ngroup: sss\n"] {
            assert_eq!(found(switch, "alice"), Some(2000), "{switch}");
            assert_eq!(found(switch, "bob"), None);
            assert_eq!(found(switch, "bad"), None);
            assert_eq!(found(switch, ""), None);
            assert_eq!(found(switch, "2000"), None);
        }
    }

    #[test]
    fn c11_anything_else_is_the_name_services_own_matter() {
        for switch in [
            "",
            "group: files\n",
            "passwd: sss files\n",
            "passwd: compat\n",
            "passwd: files [SUCCESS=merge] sss\n",
            "#passwd: files\n",
        ] {
            assert_eq!(found(switch, "alice"), None, "{switch}");
        }
    }

    #[test]
    fn the_system_answers_the_same_itself() {
        if let Some(root) = by_login(&Files::system(), "root") {
            assert_eq!((root.uid, root.login.as_str()), (0, "root"));
        }
    }
}
