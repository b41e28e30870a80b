//! The chapter that people write their policy from is held against the parser.
//!
//! In: docs/policy.md. Out: its example is a policy without warnings, and its tables name what the parser takes.

use elevate_policy::{Defaults, Policy, RESERVED};

const CHAPTER: &str = include_str!("../../docs/policy.md");

fn parse(text: &str) -> Result<Policy, String> {
    Policy::parse(&[("main.toml".to_owned(), text.to_owned())]).map_err(|error| error.to_string())
}

fn example() -> &'static str {
    CHAPTER.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap_or_default()
}

#[test]
fn the_example_is_a_policy() {
    let policy = parse(example()).unwrap();
    assert_eq!((policy.roles().count(), policy.people().count(), policy.warnings()), (2, 5, &[][..]));
}

#[test]
fn the_shown_error_is_the_real_one() {
    let broken = example().replace("[people]", "duration_of = 3\n[people]");
    assert!(parse(&broken).unwrap_err().contains("main.toml:6:1: error: unknown key \"duration_of\""));
    let text = format!("{}[roles.x]\nduration = 90\n", "\n".repeat(10));
    let shown = "main.toml:12:12: error: 90 of what?\n  hint: write \"90m\"";
    assert!(CHAPTER.contains(shown) && parse(&text).unwrap_err().contains(shown));
}

#[test]
fn the_built_in_defaults_are_those_of_the_table() {
    let defaults = Defaults::default();
    for row in [
        format!("| `duration` | `\"{}\"`", defaults.duration),
        format!("| `max` | `\"{}\"`", defaults.max),
        "| `pending` | `\"24h\"`".to_owned(),
        "| `warn` | `[\"10m\", \"5m\", \"1m\"]`".to_owned(),
    ] {
        assert!(CHAPTER.contains(&row), "{row}");
    }
    let warn: Vec<String> = defaults.warn.iter().map(ToString::to_string).collect();
    assert_eq!((warn.join(" ").as_str(), defaults.pending.0), ("10m 5m 1m", 86_400));
    assert!((155..170).contains(&RESERVED.len()), "the chapter says about 160");
}

/// Every key of a role is in the table; the parser's own list is in its hint.
#[test]
fn every_key_of_a_role_is_explained() {
    let error = parse("[roles.x]\nzzzzzzzzzz = 1\n").unwrap_err();
    let known = error.split("known here: ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
    assert_eq!(known.split(", ").count(), 16);
    for key in known.split(", ") {
        assert!(CHAPTER.contains(&format!("`{key}`")), "{key}");
    }
}
