//! What a policy that comes from a repository could hold besides a policy: other formats, bombs, keys that are said twice. Threat C19.
//!
//! In: texts. Out: a refusal with its place, at once.

#![allow(clippy::unwrap_used, reason = "a test that meets what it does not expect panics")]

use elevate_policy::Policy;

fn refused(text: &str) -> String {
    Policy::parse(&[("main.toml".to_owned(), text.to_owned())]).unwrap_err().to_string()
}

#[test]
fn c19_other_formats_bombs_and_keys_said_twice_are_no_policy() {
    let good = "[people]\nalice = {}\n";
    assert!(Policy::parse(&[("main.toml".to_owned(), good.to_owned())]).is_ok());
    let deep = format!("{good}[roles.x]\nwho = {}{}\n", "[".repeat(50_000), "]".repeat(50_000));
    let tables = format!("{good}x{} = 1\n", ".x".repeat(50_000));
    for (text, place) in [
        // YAML: anchors that grow, tags that build things, a second document.
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "main.toml:1:"),
        ("people: !!python/object/apply:os.system [id]\n", "main.toml:1:"),
        ("---\npeople: {}\n", "main.toml:1:"),
        ("{\"people\": {\"alice\": {}}}", "main.toml:1:"),
        // The later of two never wins silently, in whatever form it is said.
        ("[people]\nalice = {}\n[people]\nmallory = {}\n", "main.toml:3:"),
        ("[people]\nalice = {}\n\"alice\" = {}\n", "main.toml:3:"),
        ("[people]\nalice = {}\n[people.alice]\nlogin = \"root\"\n", "main.toml:3:"),
        ("people.alice = {}\npeople = {}\n", "main.toml:2:"),
        (deep.as_str(), "main.toml:4:"),
        (tables.as_str(), "main.toml:4:"),
    ] {
        let said = refused(text);
        assert!(
            said.contains(place) && said.contains("error: "),
            "{place} {}",
            said.get(..200).unwrap_or(&said)
        );
    }
}
