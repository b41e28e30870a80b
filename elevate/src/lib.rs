//! `elevate` for people and `elevatectl` for administrators: ask, answer challenges, show what came of it.
//!
//! In: words, three variables of the environment, client.toml, what is typed. Out: data on stdout, messages on stderr,
//! an exit code. Runs as: the person. Decides nothing: the daemon does. Spec: docs/cli.md, docs/wire.md.

#![forbid(unsafe_code)]

pub mod admin;
pub mod args;
pub mod clock;
pub mod console;
pub mod door;
pub mod export;
pub mod failure;
pub mod pages;
pub mod paint;
pub mod people;
pub mod prompt;
pub mod render;
pub mod settings;
pub mod signals;
pub mod talk;
pub mod typing;
