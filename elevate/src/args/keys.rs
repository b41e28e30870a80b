//! `elevatectl key`: which keys sign, and another one from here on.
//!
//! In: words. Out: the same, parsed. Spec: docs/config.md "Rotation".

use clap::{Subcommand, ValueEnum};
use elevate_protocol::message::admin::{KeyType, Signs};
use elevate_protocol::time::Span;

/// Keys.
#[derive(Debug, Subcommand)]
pub enum Key {
    /// List the keys: which one signs, which still counts and until when
    List,
    /// Print those of grants as a signers file, for ssh-keygen -Y verify -f FILE -I grants -n elevate-grant@v1
    Signers,
    /// Sign with another key from here on: with the agent's key of daemon.toml, or a new file
    Rotate {
        /// What it signs
        #[arg(value_enum, default_value = "grants")]
        signs: Rotated,
        /// How long what the key before signed is believed [default: 25h, longer than any grant; of ssh-host-ca 21 days]; 1s where a key of SSH certificates was stolen
        #[arg(long, value_name = "DURATION")]
        overlap: Option<Span>,
        /// Of which type a new file is [default: that of the key before]
        #[arg(long = "type", value_name = "TYPE", value_enum)]
        key_type: Option<Type>,
    },
}

/// What another key is to sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Rotated {
    /// Grants, and everything else that hosts are told
    Grants,
    /// SSH certificates of people
    SshUserCa,
    /// SSH certificates of hosts; the next key signs after 20 minutes, when everybody who logs in has heard of it
    SshHostCa,
}

/// Of which type another key is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Type {
    /// Ed25519, also for an sshd that takes no certificates signed by ECDSA
    Ed25519,
    /// ECDSA P-256, which sshd checks faster
    Ecdsa,
}

impl From<Rotated> for Signs {
    fn from(rotated: Rotated) -> Self {
        match rotated {
            Rotated::Grants => Self::Grants,
            Rotated::SshUserCa => Self::SshUserCa,
            Rotated::SshHostCa => Self::SshHostCa,
        }
    }
}

impl From<Type> for KeyType {
    fn from(given: Type) -> Self {
        match given {
            Type::Ed25519 => Self::Ed25519,
            Type::Ecdsa => Self::Ecdsa,
        }
    }
}
