//! Fuzz target: what sshd says of a login. Nothing proves a grant but what the CA signed, and nothing around it hides it.
//!
//! In: a value of `SSH_AUTH_INFO_0`. Out: nothing, or a panic. Spec: docs/wire.md "A login"; threats X-m, F12, E01, E02.

use elevate_protocol::ssh_login::{Means, means, prove};
use elevate_protocol::time::Timestamp;
use ssh_key::PublicKey;

/// Whose certificates count: the key with the seed of 2s, which also signed the corpus.
const CA: &str = include_str!("../corpus/ssh_login_ca");
/// The corpus's login, by a certificate of that CA for the grant of 1s.
const GENUINE: &str = include_str!("../corpus/ssh_login/ours");
/// A moment at which it is valid.
const NOW: Timestamp = Timestamp(1_800_000_000);

/// One input.
pub(crate) fn run(data: &[u8]) {
    let found = means(data);
    let genuine = GENUINE.trim_end().strip_prefix("publickey ").expect("the corpus's login");
    // A line of its own, as sshd writes one: whatever stands in other lines, it is no other login.
    let stands = data.split(|byte| *byte == b'\n').any(|line| line == GENUINE.trim_end().as_bytes());
    assert!(!stands || found != Means::Other, "a certificate of ours is hidden");
    let Means::Ours(line) = found else { return };
    let ca: PublicKey = CA.parse().expect("the corpus's CA");
    assert!(prove(&line, &[], NOW).is_err(), "proved by nobody");
    let Ok(proof) = prove(&line, std::slice::from_ref(&ca), NOW) else { return };
    // The certificate of the second grant is the CA's as well.
    let second = include_str!("../corpus/ssh_login/second").trim_end();
    let signed = [genuine, second.strip_prefix("publickey ").expect("the corpus's other login")];
    let word = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
    assert!(signed.iter().any(|one| word(one) == word(&line)), "proved, but never signed: {line}");
    assert_eq!(proof.serial, 9);
    assert!(prove(&line, &[ca], Timestamp(NOW.0 + 900)).is_err(), "proved when it is over");
}
