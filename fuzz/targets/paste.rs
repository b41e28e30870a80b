//! Fuzz target: the string that is pasted to enrol. One that is taken is written again as it was.
//!
//! In: a text. Out: nothing, or a panic. Spec: docs/wire.md "Paste string"; threat H02.

use elevate_protocol::paste::Paste;

/// One input.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(paste) = text.parse::<Paste>() else { return };
    assert_eq!(paste.to_line().expose(), text.trim(), "another string after it was written again");
    assert!(
        !format!("{paste:?}").contains(paste.token.as_ref().map_or("\0", |token| token.expose())),
        "a token is shown"
    );
}
