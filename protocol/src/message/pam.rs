//! The agent, its child `elevate-agent pam-run`, and `pam_elevate.so` inside that child.
//!
//! One socketpair, descriptor [`PAM_FD`] in the child. The child's conversation function and the module both write
//! to it, never at once: libpam is single-threaded. In: [`ToChild`]. Out: [`FromChild`]. Spec: docs/wire.md "PAM child".

use serde::{Deserialize, Serialize};

use crate::name::Login;
use crate::secret::Secret;
use crate::text::UntrustedText;

/// The child's end of the socketpair: its standard input, the one descriptor that a program can hand to a child
/// without unsafe code.
pub const PAM_FD: i32 = 0;
/// The PAM service of an activation.
pub const PAM_SERVICE: &str = "elevate";

/// What the agent says to its child.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ToChild {
    /// First: run the service for this account.
    Begin {
        /// The account.
        login: Login,
    },
    /// To the module, which asked with [`FromChild::Ready`]: what to prompt for the code.
    Task {
        /// The prompt.
        prompt: UntrustedText,
    },
    /// To the conversation function: what the person typed.
    Input {
        /// As typed.
        text: Secret,
    },
    /// To the module: what the daemon said of the code.
    Verdict {
        /// Whether it was right.
        accepted: bool,
        /// Tries left.
        tries: u8,
        /// What was wrong.
        message: Option<UntrustedText>,
    },
}

/// What the child says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum FromChild {
    /// From the module: it is in the stack and wants its task.
    Ready,
    /// From the conversation function: ask the person.
    Prompt {
        /// The text.
        text: UntrustedText,
        /// Whether what is typed may be seen.
        echo: bool,
    },
    /// From the conversation function: tell the person.
    Notice {
        /// The text.
        text: UntrustedText,
    },
    /// From the module: the code.
    Code {
        /// As typed, spaces removed.
        code: Secret,
    },
    /// Last: what authenticate and acct_mgmt of the whole stack said.
    Finished {
        /// Whether both passed.
        passed: bool,
        /// What libpam calls the result.
        result: UntrustedText,
    },
}
