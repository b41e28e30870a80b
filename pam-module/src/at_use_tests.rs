//! The module's side of a use, against an agent of every kind.

use std::cell::RefCell;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::JoinHandle;

use elevate_protocol::message::agent::Seat;
use elevate_protocol::message::person::{Outcome, Reply, Say};
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::secret::Secret;

use super::*;

/// Types one line after the other, and remembers what it was told.
struct Typist {
    lines: RefCell<Vec<&'static str>>,
    told: RefCell<Vec<String>>,
}

impl Typist {
    fn new(lines: &[&'static str]) -> Self {
        Self { lines: RefCell::new(lines.iter().rev().copied().collect()), told: RefCell::default() }
    }
}

impl Conversation for Typist {
    fn tell(&self, line: &Line) {
        self.told.borrow_mut().push(line.as_str().to_owned());
    }
    fn warn(&self, line: &Line) {
        self.tell(line);
    }
    fn ask(&self, line: &Line) -> Option<Secret> {
        self.tell(line);
        self.lines.borrow_mut().pop().map(|line| Secret::new(line.to_owned()))
    }
}

fn asked() -> FactorUse {
    FactorUse {
        uid: 2000,
        seat: Seat { tty: 34_816, session: 1, began: 2 },
        terminal: None,
        argv: vec![UntrustedText::lossy("sudo")],
    }
}

fn prompt() -> Reply {
    Reply::Prompt { text: UntrustedText::lossy("Code for alice: use dba on db1"), echo: false }
}

fn verdict(accepted: bool, tries: u8) -> Reply {
    Reply::Verdict { accepted, tries, message: (!accepted).then(|| "that code is not right".to_owned()) }
}

/// An agent that says these one after the other, and reads a code after each of which one is expected; the codes that it got.
fn agent(listener: UnixListener, says: Vec<(Reply, bool)>) -> JoinHandle<Vec<String>> {
    std::thread::spawn(move || {
        let (mut stream, _): (UnixStream, _) = listener.accept().unwrap();
        let mut codes = Vec::new();
        let Ok(Some(Say::AtUse(_))) = frame::read::<Say>(&mut stream) else { return codes };
        for (reply, then_hears) in says {
            if frame::write(&mut stream, &reply).is_err() {
                break;
            }
            if then_hears {
                let Ok(Some(Say::Input { text })) = frame::read::<Say>(&mut stream) else { break };
                codes.push(text.expose().to_owned());
            }
        }
        codes
    })
}

fn played(says: Vec<(Reply, bool)>, person: &Typist) -> (Result<(), Denied>, Vec<String>) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("agent.sock");
    let agent = agent(UnixListener::bind(&path).unwrap(), says);
    let result = ask(&path, asked(), person);
    (result, agent.join().unwrap())
}

#[test]
fn d13_only_the_agents_word_lets_a_use_pass() {
    let done = || (Reply::Done(Outcome::Ok), false);
    let person = Typist::new(&[]);
    assert_eq!(played(vec![done()], &person).0, Ok(()), "remembered");
    assert!(person.told.borrow().is_empty(), "and nothing was asked");
    let person = Typist::new(&["12 34 56"]);
    let (result, codes) = played(vec![(prompt(), true), (verdict(true, 2), false), done()], &person);
    assert_eq!((result, codes), (Ok(()), vec!["123456".to_owned()]));
    // A verdict is not yet the word.
    let person = Typist::new(&["123456"]);
    assert_eq!(played(vec![(prompt(), true), (verdict(true, 2), false)], &person).0, Err(Denied::Agent));
}

#[test]
fn d13_a_wrong_code_is_told_and_asked_again_while_there_are_tries() {
    let refused = Reply::Refused(Refusal::new(Code::Factor, "no code was right; nothing was changed"));
    let person = Typist::new(&["111111", "222222", "333333"]);
    let says =
        vec![(prompt(), true), (verdict(false, 1), true), (verdict(false, 0), false), (refused, false)];
    let (result, codes) = played(says, &person);
    assert_eq!(codes, ["111111", "222222"]);
    let Err(Denied::Refused { why }) = result else { panic!("{result:?}") };
    assert_eq!(why.raw(), "no code was right; nothing was changed");
    let told = person.told.borrow();
    assert_eq!(told.iter().filter(|line| line.as_str() == "elevate: that code is not right").count(), 2);
    assert_eq!(told.first().unwrap(), "elevate: Code for alice: use dba on db1: ");
}

#[test]
fn b08_every_failure_at_a_use_is_a_refusal() {
    let nobody = Typist::new(&[]);
    let place = tempfile::tempdir().unwrap();
    assert_eq!(ask(&place.path().join("none"), asked(), &nobody), Err(Denied::Agent));
    assert_eq!(played(vec![(prompt(), true)], &nobody).0, Err(Denied::NoCode), "sudo -n");
    assert_eq!(played(vec![(prompt(), true)], &Typist::new(&[""])).0, Err(Denied::NoCode));
    assert_eq!(played(vec![], &nobody).0, Err(Denied::Agent), "hangs up");
    for odd in [
        Reply::Hello { version: 1 },
        Reply::Prompt { text: UntrustedText::lossy("shown"), echo: true },
        Reply::Notice { text: UntrustedText::lossy("x") },
        Reply::Done(Outcome::Factors(vec![])),
        Reply::Event(String::new()),
    ] {
        assert_eq!(played(vec![(odd, false)], &nobody).0, Err(Denied::Agent));
    }
    let person = Typist::new(&["1"; 20]);
    let for_ever =
        std::iter::once((prompt(), true)).chain((0..20).map(|_| (verdict(false, 9), true))).collect();
    let (result, codes) = played(for_ever, &person);
    assert_eq!((result, codes.len()), (Err(Denied::Agent), 10), "an end of it");
    assert_eq!(played(vec![(verdict(false, 3), true)], &person).0, Err(Denied::Agent), "no prompt before");
}
