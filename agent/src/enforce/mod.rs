//! From verified grants to rules that sudo obeys: plan, render, read back, install.
//!
//! In: [`elevate_protocol::signed::LiveGrant`]. Out: drop-ins and grant files. Runs as: root. Spec: docs/architecture.md "On the host".

pub(crate) mod accepted;
pub(crate) mod check;
pub(crate) mod install;
pub(crate) mod plan;
pub(crate) mod principals;
pub(crate) mod reader;
pub(crate) mod reconcile;
pub(crate) mod render;

#[cfg(test)]
mod ast_tests;
#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
#[path = "../../../fuzz/targets/replay.rs"]
mod replay;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
#[path = "../../../fuzz/targets/sudoers.rs"]
mod sudoers_target;
#[cfg(test)]
mod tests;
