//! Tests of the prompt: the agent's end is a real socketpair, the person's end is the trait that libpam's conversation implements.

use std::cell::RefCell;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use elevate_protocol::text::UntrustedText;

use super::*;

/// Somebody who types these lines and then nothing more.
struct Typist {
    lines: RefCell<Vec<&'static str>>,
    shown: RefCell<Vec<String>>,
}

impl Typist {
    fn new(lines: &[&'static str]) -> Self {
        Self { lines: RefCell::new(lines.iter().rev().copied().collect()), shown: RefCell::new(Vec::new()) }
    }
}

impl Conversation for Typist {
    fn tell(&self, line: &Line) {
        self.shown.borrow_mut().push(line.as_str().to_owned());
    }
    fn warn(&self, line: &Line) {
        self.tell(line);
    }
    fn ask(&self, line: &Line) -> Option<Secret> {
        self.tell(line);
        self.lines.borrow_mut().pop().map(|line| Secret::new(line.to_owned()))
    }
}

/// An agent whose daemon accepts `492039` and gives three tries.
fn agent(mut stream: UnixStream) -> JoinHandle<Vec<String>> {
    std::thread::spawn(move || {
        let mut codes = Vec::new();
        let mut tries = 3u8;
        while let Ok(Some(said)) = frame::read::<FromChild>(&mut stream) {
            let answer = match &said {
                FromChild::Ready => {
                    ToChild::Task { prompt: UntrustedText::lossy("Code for alice: start dba on db1") }
                }
                FromChild::Code { code } => {
                    codes.push(code.expose().to_owned());
                    let accepted = code.expose() == "492039";
                    tries = tries.saturating_sub(1);
                    let message = (!accepted).then(|| UntrustedText::lossy("wrong code"));
                    ToChild::Verdict { accepted, tries, message }
                }
                FromChild::Prompt { .. } | FromChild::Notice { .. } | FromChild::Finished { .. } => {
                    panic!("{said:?}")
                }
            };
            if frame::write(&mut stream, &answer).is_err() {
                break;
            }
        }
        codes
    })
}

fn with_agent(person: &Typist) -> (Result<(), Failed>, Vec<String>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let agent = agent(theirs);
    let result = ask(Some(ours.as_fd()), person);
    drop(ours);
    (result, agent.join().unwrap())
}

#[test]
fn only_an_accepted_verdict_is_a_success() {
    let person = Typist::new(&["49 20 39"]);
    let (result, codes) = with_agent(&person);
    assert_eq!((result, codes), (Ok(()), vec!["492039".to_owned()]));
    assert_eq!(*person.shown.borrow(), ["elevate: Code for alice: start dba on db1: "]);
}

#[test]
fn wrong_codes_are_told_and_counted_by_the_daemon() {
    let person = Typist::new(&["000000", "492039"]);
    let (result, codes) = with_agent(&person);
    assert_eq!((result, codes.len()), (Ok(()), 2));
    assert_eq!(person.shown.borrow()[1], "elevate: wrong code");
    let (result, codes) = with_agent(&Typist::new(&["1", "2", "3", "492039"]));
    assert_eq!((result, codes.len()), (Err(Failed::Tries), 3), "no fourth try");
}

#[test]
fn b08_every_failure_of_the_conversation_is_a_refusal() {
    assert_eq!(with_agent(&Typist::new(&[])).0, Err(Failed::NoCode), "conversation error or NULL");
    assert_eq!(with_agent(&Typist::new(&[""])).0, Err(Failed::NoCode));
    assert_eq!(with_agent(&Typist::new(&["49\u{1b}2039"])).0, Err(Failed::NoCode));
    let (result, codes) =
        with_agent(&Typist::new(&["1111111111111111111111111111111111111111111111111111111111111111111"]));
    assert_eq!((result, codes.len()), (Err(Failed::NoCode), 0), "too long");
}

#[test]
fn b08_every_failure_of_the_agent_is_a_refusal() {
    let typed = || Typist::new(&["492039"]);
    assert_eq!(ask(None, &typed()), Err(Failed::Agent), "no descriptor");
    let file = tempfile::tempfile().unwrap();
    assert_eq!(ask(Some(file.as_fd()), &typed()), Err(Failed::Agent), "no socket");
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    assert_eq!(ask(Some(ours.as_fd()), &typed()), Err(Failed::Agent), "closed");
    let (ours, _silent) = UnixStream::pair().unwrap();
    let start = std::time::Instant::now();
    assert_eq!(ask(Some(ours.as_fd()), &typed()), Err(Failed::Agent), "silent");
    assert!(start.elapsed() < Duration::from_secs(5));
    for bytes in [
        &b"\xff\xff\xff\xff"[..],
        b"\0\0\0\0",
        b"\0\0\0\x02{]",
        b"\0\0\0\x09",
        b"\0\0\0\x0f{\"unknown\":null}",
    ] {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(bytes).unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(ask(Some(ours.as_fd()), &typed()), Err(Failed::Agent), "{bytes:?}");
    }
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    frame::write(&mut theirs, &ToChild::Verdict { accepted: true, tries: 9, message: None }).unwrap();
    assert_eq!(ask(Some(ours.as_fd()), &typed()), Err(Failed::Agent), "a verdict before any code");
}
