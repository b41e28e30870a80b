//! Somebody at door 1: a process of its own uid, told what to do by the test that started it.
//!
//! In: one JSON message per line on standard input. Out: one per line on standard output.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout};
use std::time::Instant;

use elevate_protocol::frame;
use elevate_protocol::message::person::{Reply, Say};

use super::PERSON;

/// A person's program, in a process of that uid: one JSON message per line each way.
pub(crate) struct Person {
    pub(super) child: Child,
    pub(super) input: ChildStdin,
    pub(super) output: BufReader<ChildStdout>,
}

impl Person {
    pub(crate) fn say(&mut self, say: &Say) {
        writeln!(self.input, "{}", serde_json::to_string(say).unwrap()).unwrap();
    }

    pub(crate) fn line(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.output.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if let Some(text) = line.trim_end().strip_prefix("person ") {
                return Some(text.to_owned());
            }
        }
    }

    pub(crate) fn hears(&mut self) -> Reply {
        serde_json::from_str(&self.line().expect("the agent hung up")).unwrap()
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What [`Rig::person`] runs: the body of the test `a_person`, which does nothing else when nobody asked for it.
pub(crate) fn play_person() {
    let Some(socket) = std::env::var_os(PERSON) else { return };
    let connect = || UnixStream::connect(Path::new(&socket)).unwrap();
    let task = std::env::var("ELEVATE_TEST_TASK").unwrap();
    if let Some(count) = task.strip_prefix("flood ") {
        let count: usize = count.parse().unwrap();
        let held: Vec<UnixStream> = (0..count).map(|_| connect()).collect();
        println!("\nperson flooding");
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).unwrap();
        drop(held);
        return;
    }
    if let Some(hex) = task.strip_prefix("bytes ") {
        let bytes: Vec<u8> = hex
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        let mut stream = connect();
        stream.write_all(&bytes).unwrap();
        let begin = Instant::now();
        let mut reply = Vec::new();
        drop(std::io::Read::read_to_end(&mut stream, &mut reply));
        println!("\nperson closed {}", begin.elapsed().as_millis());
        return;
    }
    let stream = connect();
    let mut sending = stream.try_clone().unwrap();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            let say: Say = serde_json::from_str(&line.unwrap()).unwrap();
            if frame::write(&mut sending, &say).is_err() {
                return;
            }
        }
    });
    let mut receiving = stream;
    println!();
    while let Ok(Some(reply)) = frame::read::<Reply>(&mut receiving) {
        println!("person {}", serde_json::to_string(&reply).unwrap());
    }
}
