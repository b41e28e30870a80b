//! Words that no role may be named, so that no verb, present or later, captures a role.
//!
//! In: a word. Out: whether it is reserved. Spec: docs/policy.md "Reserved names".

/// Every reserved word, sorted.
#[rustfmt::skip]
pub const RESERVED: [&str; 164] = [
    "access", "activate", "add", "admin", "adopt", "agent", "alert", "all", "amend", "any", "api",
    "approvals", "approve", "as", "audit", "backup", "break-glass", "can-i", "cancel", "cert",
    "certificate", "check", "comment", "completion", "completions", "config", "ctl", "daemon", "deactivate",
    "default", "delegate", "deny", "diff", "disable", "discover", "doctor", "drop", "edit", "elevate",
    "elevatectl", "elevated", "eligible", "enable", "end", "enrol", "enroll", "event", "events", "exec",
    "exit", "export", "extend", "factor", "fleet", "get", "grant", "grants", "group", "groups", "help",
    "history", "host", "hosts", "import", "info", "init", "inspect", "invite", "join", "keep", "key",
    "keys", "kill", "label", "list", "lock", "log", "login", "logout", "logs", "ls", "man", "me", "mfa",
    "no", "none", "notify", "off", "on", "password", "pending", "people", "person", "persons", "ping",
    "plan", "play", "policy", "preview", "quit", "record", "recording", "reject", "reload", "remove",
    "renew", "replay", "report", "request", "requests", "reset", "resume", "review", "reviews", "revoke",
    "rm", "role", "roles", "rotate", "run", "search", "self", "session", "sessions", "set", "setup",
    "shell", "show", "sign", "sinks", "ssh", "ssh-config", "start", "status", "stop", "su", "sudo", "sync",
    "tail", "test", "token", "totp", "trust", "tui", "undo", "unenrol", "unenroll", "unlock", "update",
    "upgrade", "use", "user", "users", "verify", "version", "wait", "watch", "web", "whatif", "who",
    "whoami", "why", "withdraw", "yes",
];

/// Whether a role may not have this name.
#[must_use]
pub fn is_reserved(word: &str) -> bool {
    RESERVED.binary_search(&word).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_has_each_word_once() {
        assert!(RESERVED.windows(2).all(|pair| pair[0] < pair[1]));
    }

    /// Every verb of the grammar of the three programs, those of later releases too.
    #[test]
    fn every_verb_of_the_command_line_is_reserved() {
        let verbs = "request run shell ssh ssh-config cert list ls status show history extend drop cancel amend \
            requests approve deny comment delegate sessions watch kill replay why can-i mfa login logout \
            whoami lock review report audit break-glass completion keep person host policy key unlock sinks \
            who enroll unenroll doctor discover adopt revoke invite label remove check diff reload plan \
            rotate reset tail verify help version init";
        for verb in verbs.split_whitespace() {
            assert!(is_reserved(verb), "{verb}");
        }
        assert!(!is_reserved("web-ops") && !is_reserved("dba") && !is_reserved("elevate-admin"));
    }
}
