//! `elevate status --prompt`: one short word for a shell's prompt, such as `web-ops:59m`, from this host alone and without asking anybody.
//!
//! In: `/run/elevate/mine/u<uid>`, which the agent keeps, and the time. Out: the word, or nothing. A prompt is no place for errors: what
//! cannot be read is nothing. It comes before everything that takes time: no name service, no time zone, no connection.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use elevate_protocol::name::Name;
use elevate_protocol::time::{Span, Timestamp};

/// Where the agent keeps what each person has in force.
pub const MINE: &str = "/run/elevate/mine";
/// Longest file read, in bytes.
const FILE_MAX: u64 = 16 * 1024;

/// The word of an account.
#[must_use]
pub fn word(folder: &Path, uid: u32, now: Timestamp) -> Option<String> {
    let mut text = String::new();
    File::open(folder.join(format!("u{uid}"))).ok()?.take(FILE_MAX).read_to_string(&mut text).ok()?;
    let mut grants: Vec<(Name, Timestamp)> =
        text.lines().filter_map(grant).filter(|(_, until)| now < *until).collect();
    grants.sort();
    let words: Vec<String> =
        grants.iter().map(|(role, until)| format!("{role}:{}", left(until.since(now)))).collect();
    (!words.is_empty()).then(|| words.join(","))
}

fn grant(line: &str) -> Option<(Name, Timestamp)> {
    let (role, until) = line.split_once(' ')?;
    Some((role.parse().ok()?, Timestamp(until.parse().ok()?)))
}

/// In one unit, rounded down: a prompt is narrow.
fn left(span: Span) -> String {
    match span.0 {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m", seconds.div_euclid(60)),
        seconds => format!("{}h", seconds.div_euclid(3600)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_says_what_is_in_force_and_for_how_long() {
        let folder = tempfile::tempdir().unwrap();
        let tell = |text: &str| std::fs::write(folder.path().join("u2000"), text).unwrap();
        let word = |now: i64| word(folder.path(), 2000, Timestamp(now));
        assert_eq!(word(0), None);
        tell("web-ops 4600\ndba 1130\nold 900\n");
        assert_eq!(word(1000).as_deref(), Some("dba:2m,web-ops:1h"));
        assert_eq!(word(1129).as_deref(), Some("dba:1s,web-ops:57m"));
        assert_eq!(word(1130).as_deref(), Some("web-ops:57m"));
        assert_eq!(word(4600), None);
    }

    /// B13: the word stands in somebody's prompt.
    #[test]
    fn b13_what_is_no_role_and_no_time_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("u1"),
            "$(id) 9\nweb\u{1b}[2J 9\nALL 9\nweb-ops x\nweb-ops\n\ndba 9\n",
        )
        .unwrap();
        assert_eq!(word(folder.path(), 1, Timestamp(0)).as_deref(), Some("dba:9s"));
        std::fs::write(folder.path().join("u1"), [0xff, 0xfe]).unwrap();
        assert_eq!(word(folder.path(), 1, Timestamp(0)), None);
    }
}
