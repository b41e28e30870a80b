//! Our lines in /etc/sudoers-rs, the one file that sudo-rs reads where it is there, between two markers at its end.
//!
//! In: its text. Out: the same text with or without our lines, every other byte as it was. Only where that file does not read
//! /etc/sudoers.d, in which our own file lies.

use std::path::Path;

use super::changes::{self, ChangeError, Changes};

/// First line of the block. sudoers takes `#` with a letter or a space behind it for a comment (THREATS X-k).
const BEGIN: &str = "# elevate begin\n";
/// Last line of the block.
const END: &str = "# elevate end\n";

/// The text without our block, and without the line end that had to be added before it.
#[must_use]
pub(crate) fn without(text: &str) -> String {
    let Some((before, behind)) = text.split_once(BEGIN) else { return text.to_owned() };
    match behind.split_once(END) {
        Some((_, after)) => format!("{before}{after}"),
        // A block without an end is not ours to take apart.
        None => text.to_owned(),
    }
}

/// The text with these lines as our one block.
#[must_use]
pub(crate) fn with(text: &str, lines: &str) -> String {
    let bare = without(text);
    let gap = if bare.is_empty() || bare.ends_with('\n') { "" } else { "\n" };
    format!("{bare}{gap}{BEGIN}{lines}{END}")
}

/// What stands in our block.
#[must_use]
pub(crate) fn inner(text: &str) -> Option<&str> {
    text.split_once(BEGIN)?.1.split_once(END).map(|(inner, _)| inner)
}

/// Puts the lines into the file.
///
/// # Errors
/// A [`ChangeError`].
pub(crate) fn put(path: &Path, lines: &str, changes: &mut Changes) -> Result<(), ChangeError> {
    let Some(stood) = changes::read(path)? else { return Ok(()) };
    let text = stood.text().ok_or_else(|| ChangeError::Kind { path: path.to_owned() })?;
    changes.write(path, &with(text, lines), 0o440)
}

/// Takes our block out of the file, where there is one.
///
/// # Errors
/// A [`ChangeError`].
pub(crate) fn take_out(path: &Path, changes: &mut Changes) -> Result<(), ChangeError> {
    let Some(stood) = changes::read(path)? else { return Ok(()) };
    let text = stood.text().unwrap_or_default();
    let bare = without(text);
    if bare != text { changes.write(path, &bare, 0o440) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_block_comes_last_and_once_and_goes_without_a_trace() {
        let own = "root ALL=(ALL:ALL) ALL\n";
        let text = with(own, "@includedir /run/elevate/sudoers.d\n");
        assert_eq!(
            text,
            format!("{own}# elevate begin\n@includedir /run/elevate/sudoers.d\n# elevate end\n")
        );
        assert_eq!(without(&with(&text, "x\n")), own);
        assert_eq!(without(own), own);
        let torn = "# elevate begin\nroot ALL=(ALL) ALL\n";
        assert_eq!(without(torn), torn);
        assert!(with("no line end", "x\n").starts_with("no line end\n# elevate begin\n"));
    }
}
