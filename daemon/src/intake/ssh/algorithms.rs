//! Which algorithms are spoken and which keys may log in.
//!
//! In: what a client offers. Out: the few that are taken. `Preferred::key` alone refuses nothing (CRATES §1.3 trap 3), so
//! [`key_is_allowed`] looks at every signed request itself: no SHA-1, no short RSA, no certificate, no DSA.

use std::borrow::Cow;
use std::time::Duration;

use russh::server::Config;
use russh::{MethodKind, MethodSet, Preferred, SshId, cipher, compression, kex, mac};
use ssh_key::{Algorithm, EcdsaCurve, HashAlg, PrivateKey, PublicKey};

/// Shortest RSA key in bits.
const RSA_BITS_MIN: u32 = 3072;
/// What a peer may send on one channel that nobody has read yet.
const WINDOW: u32 = 256 * 1024;
const PACKET: u32 = 32 * 1024;
/// Packets of one channel that wait to be read; more stall that connection.
const QUEUE: usize = 8;
/// Signed requests of one connection.
const ATTEMPTS: usize = 6;

const CLIENT_KEYS: &[Algorithm] = &[
    Algorithm::Ed25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
    Algorithm::SkEd25519,
    Algorithm::SkEcdsaSha2NistP256,
    Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
    Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
];

/// Whether a key may log in with a signature of this algorithm.
pub(crate) fn key_is_allowed(key: &PublicKey, algorithm: &Algorithm) -> bool {
    let long_enough = key.key_data().rsa().is_none_or(|rsa| rsa.key_size() >= RSA_BITS_MIN);
    CLIENT_KEYS.contains(algorithm) && long_enough
}

/// The listener's configuration.
pub(crate) fn config(host_key: PrivateKey) -> Config {
    Config {
        server_id: SshId::Standard(Cow::Borrowed("SSH-2.0-elevate")),
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        auth_rejection_time: Duration::from_millis(50),
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![host_key],
        window_size: WINDOW,
        maximum_packet_size: PACKET,
        channel_buffer_size: QUEUE,
        event_buffer_size: QUEUE,
        max_auth_attempts: ATTEMPTS,
        // Keepalives reset this one; it bounds a write that the peer does not take.
        inactivity_timeout: Some(Duration::from_secs(60)),
        // Longer than a host's agent is ever silent, half a minute: while it speaks, SSH itself has nothing to say.
        keepalive_interval: Some(Duration::from_secs(40)),
        keepalive_max: 2,
        nodelay: true,
        preferred: Preferred {
            kex: Cow::Borrowed(&[
                kex::MLKEM768X25519_SHA256,
                kex::CURVE25519,
                kex::CURVE25519_PRE_RFC_8731,
                kex::EXTENSION_SUPPORT_AS_SERVER,
                kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
            ]),
            // The host key is Ed25519; the rest of this list tells clients what they may log in with.
            key: Cow::Borrowed(CLIENT_KEYS),
            host_key_certificates: Cow::Borrowed(&[]),
            cipher: Cow::Borrowed(&[cipher::CHACHA20_POLY1305, cipher::AES_256_GCM, cipher::AES_128_GCM]),
            mac: Cow::Borrowed(&[mac::HMAC_SHA256_ETM, mac::HMAC_SHA512_ETM]),
            compression: Cow::Borrowed(&[compression::NONE]),
        },
        ..Config::default()
    }
}
