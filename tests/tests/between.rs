//! Somebody between a host, a person and the daemon who changes the packets of the key exchange (threats H06, H13).
//!
//! In: the staged build and the tree. Out: each change is refused, said, and without effect. Runs as: root, in test hosts.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that meets what it does not expect panics, and that is its answer"
)]

use anyhow::{Context, Result, ensure};
use elevate_tests::between::{Between, Piece, Way};
use elevate_tests::fleet::{Fleet, Managed};
use elevate_tests::{PATIENCE, eventually};

const KEXINIT: u8 = 20;
const NEW_KEYS: u8 = 21;
const KEX_REPLY: u8 = 31;

type Change = fn(Way, usize, Piece) -> Vec<Piece>;

/// Changes the name-lists of a KEXINIT (RFC 4253 §7.1): key exchange, host key, two ciphers, two MACs, two compressions, two languages.
fn with_lists(piece: Piece, change: impl Fn(usize, &str) -> String) -> Vec<Piece> {
    let Piece::Packet(payload) = &piece else { return vec![piece] };
    if payload.first() != Some(&KEXINIT) {
        return vec![piece];
    }
    let mut changed = payload[..17].to_vec();
    let mut rest = &payload[17..];
    for index in 0..10 {
        let length = usize::try_from(u32::from_be_bytes(rest[..4].try_into().unwrap())).unwrap();
        let list = change(index, std::str::from_utf8(&rest[4..4 + length]).unwrap());
        changed.extend(u32::try_from(list.len()).unwrap().to_be_bytes());
        changed.extend(list.as_bytes());
        rest = &rest[4 + length..];
    }
    changed.extend(rest);
    vec![Piece::Packet(changed)]
}

fn instead(way: Way, from: Way, piece: Piece, lists: &[usize], text: &str) -> Vec<Piece> {
    if way != from {
        return vec![piece];
    }
    with_lists(piece, |index, list| if lists.contains(&index) { text.to_owned() } else { list.to_owned() })
}

fn without_strict(way: Way, from: Way, piece: Piece) -> Vec<Piece> {
    if way != from {
        return vec![piece];
    }
    with_lists(piece, |_, list| {
        list.split(',').filter(|name| !name.starts_with("kex-strict-")).collect::<Vec<_>>().join(",")
    })
}

/// Flips one bit of the byte at `at`, counted from the end when it is negative, in packets with this message number.
fn flipped(piece: Piece, message: u8, at: isize) -> Vec<Piece> {
    let Piece::Packet(mut payload) = piece else { return vec![piece] };
    if payload.first() == Some(&message) {
        let at = if at < 0 { payload.len().saturating_add_signed(at) } else { at.unsigned_abs() };
        payload[at] ^= 1;
    }
    vec![Piece::Packet(payload)]
}

fn sealed_flipped(piece: Piece) -> Vec<Piece> {
    let Piece::Sealed(mut bytes) = piece else { return vec![piece] };
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    vec![Piece::Sealed(bytes)]
}

/// SSH_MSG_IGNORE with nothing in it, before the new keys: the prefix of Terrapin (CVE-2023-48795).
fn with_ignore(way: Way, from: Way, piece: Piece) -> Vec<Piece> {
    let here = way == from && matches!(&piece, Piece::Packet(payload) if payload.first() == Some(&NEW_KEYS));
    let mut pieces = if here { vec![Piece::Packet(vec![2, 0, 0, 0, 0])] } else { vec![] };
    pieces.push(piece);
    pieces
}

/// The host's Ed25519 key in SSH_MSG_KEX_ECDH_REPLY: string K_S, which is string "ssh-ed25519" and string of 32 bytes.
const KEY_IN_REPLY: isize = 1 + 4 + 4 + 11 + 4 + 7;

const CHANGES: [(&str, Change); 22] = [
    ("another host key", |way, _, piece| {
        if way == Way::Server { flipped(piece, KEX_REPLY, KEY_IN_REPLY) } else { vec![piece] }
    }),
    ("RSA instead of the pinned type", |way, _, piece| {
        instead(way, Way::Server, piece, &[1], "rsa-sha2-256,ssh-rsa")
    }),
    ("a certificate instead of the key", |way, _, piece| {
        instead(way, Way::Server, piece, &[1], "ssh-ed25519-cert-v01@openssh.com")
    }),
    ("the client asks for RSA", |way, _, piece| instead(way, Way::Client, piece, &[1], "ssh-rsa")),
    ("the daemon is not strict", |way, _, piece| without_strict(way, Way::Server, piece)),
    ("the client is not strict", |way, _, piece| without_strict(way, Way::Client, piece)),
    ("an old key exchange", |way, _, piece| {
        instead(way, Way::Server, piece, &[0], "diffie-hellman-group1-sha1")
    }),
    ("the lesser key exchange", |way, _, piece| {
        instead(way, Way::Server, piece, &[0], "curve25519-sha256,kex-strict-s-v00@openssh.com")
    }),
    ("old ciphers", |way, _, piece| instead(way, Way::Server, piece, &[2, 3], "aes128-cbc,3des-cbc")),
    ("no cipher", |way, _, piece| instead(way, Way::Server, piece, &[2, 3], "none")),
    ("the client offers old ciphers", |way, _, piece| {
        instead(way, Way::Client, piece, &[2, 3], "aes256-ctr")
    }),
    ("compression", |way, _, piece| instead(way, Way::Server, piece, &[6, 7], "zlib@openssh.com,zlib")),
    ("the client offers compression", |way, _, piece| instead(way, Way::Client, piece, &[6, 7], "zlib,none")),
    ("a packet more from the daemon", |way, _, piece| with_ignore(way, Way::Server, piece)),
    ("a packet more from the client", |way, _, piece| with_ignore(way, Way::Client, piece)),
    ("a packet more and the next one less", |way, number, piece| match &piece {
        Piece::Sealed(_) if way == Way::Server && number == 0 => vec![],
        Piece::Version(_) | Piece::Packet(_) | Piece::Sealed(_) => with_ignore(way, Way::Server, piece),
    }),
    ("another version", |_, _, piece| match piece {
        Piece::Version(line) => vec![Piece::Version([b"SSH-2.0-x", &line[8..]].concat())],
        other @ (Piece::Packet(_) | Piece::Sealed(_)) => vec![other],
    }),
    ("a bit of the cookie", |_, _, piece| flipped(piece, KEXINIT, 5)),
    ("a bit of the daemon's share", |way, _, piece| {
        if way == Way::Server { flipped(piece, KEX_REPLY, 1 + 4 + 51 + 4 + 9) } else { vec![piece] }
    }),
    (
        "a bit of the signature",
        |way, _, piece| {
            if way == Way::Server { flipped(piece, KEX_REPLY, -3) } else { vec![piece] }
        },
    ),
    ("a bit after the new keys, from the daemon", |way, _, piece| {
        if way == Way::Server { sealed_flipped(piece) } else { vec![piece] }
    }),
    ("a bit after the new keys, from the client", |way, _, piece| {
        if way == Way::Client { sealed_flipped(piece) } else { vec![piece] }
    }),
];

/// What an administrator reads in the log but the reading itself.
fn log(fleet: &Fleet) -> Result<Vec<String>> {
    let text = fleet.ctl(&["audit", "tail", "-n", "10000", "--format", "json"])?;
    Ok(text.lines().filter(|line| !line.contains("\"admin.used\"")).map(str::to_owned).collect())
}

fn is_connected(fleet: &Fleet) -> Result<bool> {
    let listed: serde_json::Value = serde_json::from_str(&fleet.ctl(&["host", "list", "--format", "json"])?)?;
    listed["hosts"][0]["connected"].as_bool().context("no host is listed")
}

fn hijacked(fleet: &Fleet, host: &elevate_tests::Host) -> Result<()> {
    let names = host.read("/etc/hosts")?;
    let true_address = format!("{} vault1\n", fleet.vault.address());
    let between = names.lines().find_map(|line| line.strip_suffix(" between")).context("nobody between")?;
    host.write("/etc/hosts", names.replace(&true_address, &format!("{between} vault1\n")))
}

fn link_says(web1: &Managed) -> Result<String> {
    Ok(web1.link.as_ref().context("no link")?.log())
}

/// H13 as well: the name of the daemon leads elsewhere, and whoever is there has everything but its key.
#[test]
fn h06_whatever_is_changed_on_the_way_is_refused_and_has_no_effect() -> Result<()> {
    let fleet = Fleet::new()?;
    let mut alice = fleet.person("alice")?;
    let mut web1 = fleet.managed("web1", &["tier=web"])?;
    let somewhere = elevate_tests::fleet::installed_host(&fleet.lab, "between")?;
    let between = Between::new(&somewhere, &fleet.vault)?;
    for host in [&web1.host, &fleet.laptop] {
        hijacked(&fleet, host)?;
    }
    // Unchanged, everything goes through: what is refused below is refused for its change.
    web1.kill_link()?;
    web1.start_link()?;
    eventually(PATIENCE, "the link through the relay", || {
        link_says(&web1).is_ok_and(|log| log.contains("connected to"))
    })?;
    web1.wait_connected(&fleet)?;
    fleet.laptop.run("alice", ["elevate", "whoami"])?.success()?;
    web1.kill_link()?;
    eventually(PATIENCE, "the daemon to miss the host", || is_connected(&fleet).is_ok_and(|is| !is))?;
    let before = log(&fleet)?;
    for (what, change) in CHANGES {
        between.edit(change);
        let ran = fleet.laptop.run("alice", ["elevate", "whoami"])?;
        let code = ran.status.code().context("killed")?;
        ensure!([8, 10].contains(&code) && ran.stderr.contains("error: "), "{what}: {ran}");
        web1.start_link()?;
        eventually(PATIENCE, what, || link_says(&web1).is_ok_and(|log| !log.is_empty()))?;
        let said = link_says(&web1)?;
        ensure!(!said.contains("connected to") && !said.contains("panicked"), "{what}: the link says {said}");
        web1.kill_link()?;
    }
    ensure!(!is_connected(&fleet)?, "the host is connected through a changed exchange");
    let after = log(&fleet)?;
    ensure!(before == after, "the log grew: {:?}", after.get(before.len()..));
    // While it lasts nothing starts on the host, and the link comes back by itself when it is over.
    web1.start_link()?;
    web1.host.run("alice", ["elevate", "web-quick", "-n", "-m", "an ordinary reason"])?.exits(8)?;
    between.edit(|_, _, piece| vec![piece]);
    web1.wait_connected(&fleet)?;
    web1.activate(&mut alice, &["web-root", "-m", "an ordinary reason"], || Ok(()))?;
    ensure!(web1.sudo("alice", &["/usr/bin/id", "-u"])?.0 == 0, "the grant is in force");
    Ok(())
}
