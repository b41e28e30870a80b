//! Fuzz target: a policy. One that is taken says the same when it is written out with every default; errors have no control characters.
//!
//! In: a text. Out: nothing, or a panic. Spec: docs/policy.md; threats A02, A05 to A07, C03, C09.

use elevate_policy::Policy;

/// Longer files say nothing new and take their time.
const LONGEST: usize = 64 * 1024;

/// One input.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if text.len() > LONGEST {
        return;
    }
    match Policy::parse(&[("fuzz.toml".to_owned(), text.to_owned())]) {
        Ok(policy) => {
            let shown = policy.show_effective();
            let again = Policy::parse(&[("shown.toml".to_owned(), shown.clone())]);
            match again {
                Ok(again) => assert!(again == policy, "another policy when it is written out:\n{shown}"),
                Err(error) => panic!("what is shown is no policy: {error}\n{shown}"),
            }
        }
        Err(error) => {
            let said = error.to_string();
            assert!(!said.chars().any(|letter| letter.is_control() && letter != '\n'), "{said:?}");
        }
    }
}
