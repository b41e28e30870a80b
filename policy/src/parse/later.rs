//! Keys that later versions bring. Nothing is accepted and then not enforced.
//!
//! In: a key. Out: whether it is one of these; the reader refuses it with that reason. Spec: docs/policy.md.

/// Every such key, sorted, wherever it may stand.
#[rustfmt::skip]
pub(super) const LATER: [&str; 41] = [
    "allow_wildcard", "at", "at_end", "auto_approve", "break_glass", "break_glass_of", "certificate",
    "ceiling", "cwd", "delegate", "digest", "email", "env", "environment", "escalate", "every_use", "extend_approve",
    "idle", "idle_timeout", "include", "keep", "lease", "locks", "max_uses",
    "mfa_methods", "no_exec", "noexec", "notify", "one_time", "password", "principals", "record",
    "recording", "review", "schedule", "session", "sinks", "standing", "timeout", "webauthn",
    "window",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_each_key_once_and_every_key_of_the_design() {
        let mut sorted = LATER.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), LATER.len());
        for key in ["record", "at_end", "password", "keep", "lease"] {
            assert!(LATER.contains(&key), "{key}");
        }
    }
}
