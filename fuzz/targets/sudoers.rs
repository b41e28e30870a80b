//! Fuzz target: our reader of drop-ins. What it takes is in the one form there is: written again from what was read, it is the same text.
//!
//! In: a text. Out: nothing, or a panic. Beside the reader, which is private to the agent. Spec: docs/grant-format.md "sudo"; threats A02, A03, A18.

use super::reader::{self, What};

/// One input.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(read) = reader::read(text) else { return };
    let ids: Vec<String> = read.ids.iter().map(ToString::to_string).collect();
    let rule = |rule: &reader::Rule| {
        // sudo-rs gets rules without an end.
        let written = |last| elevate_protocol::date::write(last).expect("a date that was read");
        let last = rule.last.map_or_else(String::new, |last| format!(" NOTAFTER={}", written(last)));
        let what = match &rule.what {
            What::Everything => "ALL".to_owned(),
            What::Edit(path) => format!("sudoedit {path}"),
            What::Command(argv) => words(argv),
        };
        format!("#{} ALL=({}){last} NOPASSWD: {what}\n", rule.uid, rule.run_as)
    };
    let mut lines: Vec<String> = read.rules.iter().map(rule).collect();
    lines.sort_unstable();
    assert_eq!(format!("# elevate grants {}\n{}", ids.join(" "), lines.concat()), text, "not the one form");
}

fn words(argv: &[String]) -> String {
    let (path, arguments) = argv.split_first().expect("a command has a path");
    if arguments.is_empty() {
        return format!("{path} \"\"");
    }
    let escaped = arguments.iter().map(|argument| {
        argument
            .chars()
            .flat_map(|letter| "=:,".contains(letter).then_some('\\').into_iter().chain([letter]))
            .collect::<String>()
    });
    std::iter::once(path.clone()).chain(escaped).collect::<Vec<_>>().join(" ")
}
