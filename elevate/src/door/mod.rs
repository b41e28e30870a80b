//! The ways to the daemon: a local socket whose other end is proven first, or SSH with the person's own key.
//!
//! In: a socket path with its rule, or a pinned server. Out: a [`Conversation`], one stream of frames, the same for both.
//! Spec: docs/wire.md "Transports". Threats B01, H06.

mod conversation;
mod error;
pub mod socket;
pub mod ssh;

pub use conversation::{Conversation, Fate, Spare};
pub use error::DoorError;

/// The agent's socket. Compiled in: no variable of the environment leads elsewhere (threat B01).
pub const AGENT_SOCKET: &str = "/run/elevate/agent.sock";
/// The daemon's own socket for administrators.
pub const ADMIN_SOCKET: &str = "/run/elevated/admin.sock";

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Through this host's agent, as the account that the kernel says.
    One,
    /// To the daemon, with one's own key.
    Two,
}
