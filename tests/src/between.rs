//! Somebody between two SSH programs, who can read and change everything until both have changed to new keys.
//!
//! In: a host to stand on, the address of the daemon, an [`Edit`]. Out: a relay on port 7022 of that host.
//! Runs as: root (a thread enters the host's network). Spec: RFC 4253 §6 and §7.1.

#![allow(clippy::arithmetic_side_effects, reason = "lengths that were compared before, and counts of pieces")]

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, setns};

use crate::Host;

/// Who is speaking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The one who connected.
    Client,
    /// The daemon.
    Server,
}

/// What comes by, in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The line that each side begins with, its end included.
    Version(Vec<u8>),
    /// The payload of a packet before new keys are in use; its first byte is the message number of RFC 4250 §4.1.
    Packet(Vec<u8>),
    /// What was read at once afterwards. Nobody between can read it.
    Sealed(Vec<u8>),
}

/// What becomes of a piece: nothing, itself, or others. The number counts the pieces of one direction from 0, and those after the
/// new keys from 0 again.
pub type Edit = Arc<dyn Fn(Way, usize, Piece) -> Vec<Piece> + Send + Sync>;

/// SSH_MSG_NEWKEYS.
const NEW_KEYS: u8 = 21;
/// Longest packet that is relayed; RFC 4253 §6.1 asks for 35 000.
const PACKET_MAX: usize = 256 * 1024;

/// The relay. It stays until the test ends.
#[derive(Clone)]
pub struct Between(Arc<Mutex<Edit>>);

impl Between {
    /// Stands on `host`, port 7022, before `daemon`.
    ///
    /// # Errors
    /// The host is off, or the port is taken.
    pub fn new(host: &Host, daemon: &Host) -> Result<Self> {
        let nothing: Edit = Arc::new(|_, _, piece| vec![piece]);
        let between = Self(Arc::new(Mutex::new(nothing)));
        let network = File::open(format!("/proc/{}/ns/net", host.pid()?))?;
        let upstream = format!("{}:7022", daemon.address());
        let (ready, is_ready) = sync_channel(1);
        let relay = between.clone();
        thread::spawn(move || {
            let opened = setns(&network, CloneFlags::CLONE_NEWNET)
                .map_err(std::io::Error::from)
                .and_then(|()| TcpListener::bind("0.0.0.0:7022"));
            match opened {
                Ok(listener) => {
                    drop(ready.send(Ok(())));
                    relay.serve(&listener, &upstream);
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        });
        is_ready.recv().context("the relay ended")?.context("cannot stand between")?;
        Ok(between)
    }

    /// From here on connections are changed in this way.
    pub fn edit(&self, edit: impl Fn(Way, usize, Piece) -> Vec<Piece> + Send + Sync + 'static) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(edit);
    }

    fn serve(&self, listener: &TcpListener, upstream: &str) {
        // Who connects while the daemon is away sees the connection end.
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(upstream) else { continue };
            let edit = Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner));
            for (way, from, to) in [(Way::Client, &client, &server), (Way::Server, &server, &client)] {
                if let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) {
                    let edit = Arc::clone(&edit);
                    thread::spawn(move || relay(way, from, to, &edit));
                }
            }
        }
    }
}

fn relay(way: Way, mut from: TcpStream, mut to: TcpStream, edit: &Edit) {
    // Either side may end it at any time; both sides then see the end.
    drop(carry(way, &mut from, &mut to, edit));
    drop(from.shutdown(Shutdown::Both));
    drop(to.shutdown(Shutdown::Both));
}

fn carry(way: Way, from: &mut TcpStream, to: &mut TcpStream, edit: &Edit) -> Result<()> {
    let mut number = 0;
    let mut pass = |piece: Piece, to: &mut TcpStream| -> Result<()> {
        for piece in edit(way, number, piece) {
            to.write_all(&on_the_wire(piece))?;
        }
        number += 1;
        Ok(())
    };
    pass(Piece::Version(line(from)?), to)?;
    loop {
        let payload = packet(from)?;
        let new_keys = payload.first() == Some(&NEW_KEYS);
        pass(Piece::Packet(payload), to)?;
        if new_keys {
            break;
        }
    }
    let mut buffer = vec![0; 64 * 1024];
    for number in 0.. {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        let sealed = buffer.get(..read).context("more was read than there is room")?.to_vec();
        for piece in edit(way, number, Piece::Sealed(sealed)) {
            to.write_all(&on_the_wire(piece))?;
        }
    }
    Ok(())
}

fn line(from: &mut impl Read) -> Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\n") {
        ensure!(line.len() < 255, "RFC 4253 §4.2: no longer than 255 bytes");
        from.read_exact(&mut byte)?;
        line.extend_from_slice(&byte);
    }
    Ok(line)
}

/// The payload of one packet without encryption: length, length of padding, payload, padding.
fn packet(from: &mut impl Read) -> Result<Vec<u8>> {
    let mut head = [0; 5];
    from.read_exact(&mut head)?;
    let [a, b, c, d, padding] = head;
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d]))?;
    ensure!(
        length <= PACKET_MAX && length > usize::from(padding),
        std::io::Error::from(ErrorKind::InvalidData)
    );
    let mut rest = vec![0; length - 1];
    from.read_exact(&mut rest)?;
    rest.truncate(length - 1 - usize::from(padding));
    Ok(rest)
}

fn on_the_wire(piece: Piece) -> Vec<u8> {
    let payload = match piece {
        Piece::Version(bytes) | Piece::Sealed(bytes) => return bytes,
        Piece::Packet(payload) => payload,
    };
    // RFC 4253 §6: at least four bytes of padding, and a multiple of eight in all.
    let padding = 4 + (8 - (5 + payload.len() + 4) % 8) % 8;
    let length = u32::try_from(1 + payload.len() + padding).unwrap_or(u32::MAX);
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.push(u8::try_from(padding).unwrap_or(u8::MAX));
    bytes.extend(payload);
    bytes.resize(bytes.len() + padding, 0);
    bytes
}
