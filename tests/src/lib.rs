//! The test bed: hosts with their own /etc, users, processes and address, on one machine, in tens of ms.
//!
//! In: the tree of `make tree`, the helper program `testbed`. Out: [`Lab`], [`Host`], [`Tty`], [`Running`].
//! Runs as: root, in tests and the demo. Spec: tests/README.md.
#![forbid(unsafe_code)]

pub mod between;
mod clock;
mod cmd;
mod deadline;
mod files;
pub mod fleet;
mod host;
pub mod inside;
mod interactive;
mod lab;
mod machine;
mod memory;
mod network;
pub mod places;
mod running;
mod transcript;
mod tty;

pub use clock::Clock;
pub use cmd::{Cmd, Ran};
pub use deadline::{eventually, obtain};
pub use files::Access;
pub use host::Host;
pub use lab::Lab;
pub use machine::HostSpec;
pub use memory::Memory;
pub use running::Running;
pub use transcript::Transcript;
pub use tty::Tty;

/// How long an ordinary step of a test may take before it has failed.
///
/// Long, because a loaded machine is slow and a passing step never waits for it.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);
