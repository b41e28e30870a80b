//! Fuzz target: the text of a `.grant` file, verified and then parsed. Nothing verifies but what was signed.
//!
//! In: a text. Out: nothing, or a panic. Spec: docs/grant-format.md; threats C10, C15.

use elevate_protocol::id::HostId;
use elevate_protocol::signed::{SignedGrant, TrustedKeys};

/// Whose signature counts: the key with the seed of 7s, which also signed the corpus.
const SIGNERS: &str = include_str!("../corpus/grant_signers");
/// The corpus's grant, whole.
const GENUINE: &str = include_str!("../corpus/grant/whole");

/// One input.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(signed) = SignedGrant::from_text(text) else { return };
    assert_eq!(signed.to_text(), text, "another text after it was written again");
    let keys = TrustedKeys::from_signers(SIGNERS).expect("the signers of the corpus");
    let Ok(verified) = signed.verify(&keys, &HostId::from_random([1; 16])) else { return };
    // Each document's line is one that was signed; armour that says the same otherwise is no other signature.
    let lines =
        |text: &str| text.lines().filter(|line| line.starts_with('{')).map(str::to_owned).collect::<Vec<_>>();
    let (found, genuine) = (lines(text), lines(GENUINE));
    assert!(!found.is_empty() && genuine.starts_with(&found), "verified, but never signed: {text}");
    assert_eq!(verified.grant().uid, 2000);
    assert!(signed.verify(&keys, &HostId::from_random([2; 16])).is_err(), "another host's grant");
}
