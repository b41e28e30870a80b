//! Tests of the conversation: a peer that speaks frames over a real socket, a person at a real pseudo-terminal.
//! In: scripts of both. Out: what was sent, what was shown, how it ended. Threats B13, C13, H08.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use elevate_protocol::frame;
use elevate_protocol::message::person::{Challenge, Outcome};
use elevate_protocol::message::refusal::{Code, Refusal};
use nix::pty::openpty;
use nix::sys::signal::{Signal, raise};
use nix::sys::termios::{LocalFlags, tcgetattr};

use super::*;
use crate::render::activation::tests::{at, pending, view};
use crate::render::progress;

const CODE: &str = "492039";

/// The person's terminal, and what was shown on it.
struct Desk {
    keys: File,
    terminal: File,
    shown: Arc<Mutex<String>>,
}

impl Desk {
    fn new() -> (Self, Console) {
        let pty = openpty(None, None).unwrap();
        let terminal = File::from(pty.slave);
        let copy = || terminal.try_clone().unwrap();
        let console = Console::on(copy(), copy(), copy());
        let keys = File::from(pty.master);
        let shown = Arc::new(Mutex::new(String::new()));
        let (mut screen, seen) = (keys.try_clone().unwrap(), Arc::clone(&shown));
        // Ends with EIO when the last copy of the terminal is closed.
        std::thread::spawn(move || {
            let mut piece = [0u8; 4096];
            while let Ok(count @ 1..) = screen.read(&mut piece) {
                seen.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..count]));
            }
        });
        (Self { keys, terminal, shown }, console)
    }

    /// Types once `cue` was shown for the `nth` time.
    fn types(&self, nth: usize, cue: &str, text: &str) -> JoinHandle<()> {
        let (mut keys, shown) = (self.keys.try_clone().unwrap(), Arc::clone(&self.shown));
        let (cue, text) = (cue.to_owned(), text.to_owned());
        std::thread::spawn(move || {
            until(|| shown.lock().unwrap().matches(&cue).count() >= nth);
            keys.write_all(text.as_bytes()).unwrap();
        })
    }

    fn has_echo(&self) -> bool {
        tcgetattr(&self.terminal).unwrap().local_flags.contains(LocalFlags::ECHO)
    }

    /// Everything shown, once `last` is there.
    fn screen(&self, last: &str) -> String {
        until(|| self.shown.lock().unwrap().contains(last));
        self.shown.lock().unwrap().clone()
    }
}

/// Polls a condition that has no event, with a deadline.
fn until(condition: impl Fn() -> bool) {
    let deadline = clock::instant().checked_add(Duration::from_secs(10)).unwrap();
    while !condition() {
        assert!(clock::instant() < deadline, "what was waited for did not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The other side: what it hears and says.
struct Peer(UnixStream);

impl Peer {
    fn hears(&mut self) -> Option<Say> {
        frame::read(&mut self.0).unwrap()
    }
    fn says(&mut self, reply: &Reply) {
        frame::write(&mut self.0, reply).unwrap();
    }
    fn greets(&mut self) -> Ask {
        assert!(matches!(self.hears(), Some(Say::Hello { .. })));
        self.says(&Reply::Hello { version: VERSION });
        match self.hears() {
            Some(Say::Ask(ask)) => ask,
            other => panic!("{other:?}"),
        }
    }
    fn challenges(&mut self) {
        let challenge = Challenge {
            id: Nonce::from_random([7; 16]),
            ask: Ask::FactorTest.digest().unwrap(),
            prompt: "Code for alice: test".parse().unwrap(),
        };
        self.says(&Reply::Challenge(challenge));
    }
    fn is_answered(&mut self) -> String {
        match self.hears() {
            Some(Say::Answer { challenge, code }) if challenge == Nonce::from_random([7; 16]) => {
                code.expose().to_owned()
            }
            other => panic!("{other:?}"),
        }
    }
}

fn peer(script: impl FnOnce(&mut Peer) + Send + 'static) -> (Conversation, JoinHandle<()>) {
    let (near, far) = UnixStream::pair().unwrap();
    let thread = std::thread::spawn(move || script(&mut Peer(far)));
    (Conversation::over(near, None).unwrap(), thread)
}

fn talk(conversation: Conversation, console: &mut Console, wait: Wait) -> Result<End, TalkError> {
    let signals = Signals::take().unwrap();
    talk_with(conversation, console, &signals, wait)
}

fn talk_with(
    mut conversation: Conversation,
    console: &mut Console,
    signals: &Signals,
    wait: Wait,
) -> Result<End, TalkError> {
    let mut told = |console: &mut Console, told: Told<'_>| match told {
        Told::Progress(view, before) => {
            progress::changes(view, before, &at()).iter().for_each(|line| console.say(line));
        }
        Told::Event(event) => console.json(event),
        Told::Seed(uri) => console.warn(&Line::plain(uri)),
    };
    Talk::new(&mut conversation, console, signals, wait).ask(&Ask::FactorTest, &mut told)
}

#[test]
fn a_code_is_asked_without_echo_and_again_while_tries_are_left() {
    let (desk, mut console) = Desk::new();
    let (conversation, thread) = peer(|peer| {
        assert_eq!(peer.greets(), Ask::FactorTest);
        peer.challenges();
        assert_eq!(peer.is_answered(), "000000");
        peer.says(&Reply::Verdict { accepted: false, tries: 2, message: Some("that code is wrong".into()) });
        assert_eq!(peer.is_answered(), CODE);
        peer.says(&Reply::Verdict { accepted: true, tries: 2, message: None });
        peer.says(&Reply::Done(Outcome::Ok));
    });
    let typed =
        [desk.types(1, "alice: test: ", "000000\n"), desk.types(2, "alice: test: ", &format!(" {CODE} \n"))];
    let end = talk(conversation, &mut console, Wait::Machines).unwrap();
    assert!(matches!(end, End::Done(Outcome::Ok)));
    typed.into_iter().for_each(|thread| thread.join().unwrap());
    thread.join().unwrap();
    assert!(desk.has_echo());
    let screen = desk.screen("2 tries left");
    assert!(!screen.contains(CODE) && !screen.contains("000000"), "{screen}");
}

#[test]
fn c13_a_second_challenge_is_answered_with_a_new_code_and_its_own_id() {
    let (desk, mut console) = Desk::new();
    let (conversation, thread) = peer(|peer| {
        peer.greets();
        peer.challenges();
        peer.is_answered();
        let mut view = pending();
        view.state = State::Approved;
        peer.says(&Reply::Verdict { accepted: true, tries: 3, message: None });
        peer.says(&Reply::Progress(Box::new(view)));
        let challenge = Challenge {
            id: Nonce::from_random([9; 16]),
            ask: Ask::FactorTest.digest().unwrap(),
            prompt: "Fresh code".parse().unwrap(),
        };
        peer.says(&Reply::Challenge(challenge));
        let Some(Say::Answer { challenge, code }) = peer.hears() else { panic!("no answer") };
        assert_eq!((challenge, code.expose()), (Nonce::from_random([9; 16]), "222222"));
        peer.says(&Reply::Done(Outcome::Activation(Box::new(self::view()))));
    });
    let typed = [desk.types(1, "alice: test: ", "111111\n"), desk.types(1, "Fresh code: ", "222222\n")];
    let end = talk(conversation, &mut console, Wait::People(None)).unwrap();
    assert!(matches!(end, End::Done(Outcome::Activation(view)) if view.state == State::Active));
    typed.into_iter().for_each(|thread| thread.join().unwrap());
    thread.join().unwrap();
}

#[test]
fn prompts_of_a_hosts_pam_stack_are_put_to_the_person() {
    let (desk, mut console) = Desk::new();
    let (conversation, thread) = peer(|peer| {
        peer.greets();
        peer.says(&Reply::Notice { text: "site policy applies".parse().unwrap() });
        peer.says(&Reply::Prompt { text: "Colour: ".parse().unwrap(), echo: true });
        let Some(Say::Input { text }) = peer.hears() else { panic!("no input") };
        assert_eq!(text.expose(), "blue");
        peer.says(&Reply::Done(Outcome::Ok));
    });
    let typed = desk.types(1, "Colour: ", "blue\n");
    assert!(matches!(talk(conversation, &mut console, Wait::Machines).unwrap(), End::Done(_)));
    typed.join().unwrap();
    thread.join().unwrap();
    assert!(desk.screen("blue").contains("site policy applies"));
}

#[test]
fn without_a_terminal_a_challenge_is_left_and_not_guessed() {
    let null = || File::options().read(true).write(true).open("/dev/null").unwrap();
    let mut console = Console::on(null(), null(), null());
    let (conversation, thread) = peer(|peer| {
        peer.greets();
        peer.challenges();
        assert!(matches!(peer.hears(), Some(Say::Leave)));
    });
    let error = talk(conversation, &mut console, Wait::Machines).unwrap_err();
    assert_eq!((error.code().exit(), matches!(error, TalkError::FactorNeeded)), (6, true));
    thread.join().unwrap();
}

#[test]
fn ctrl_c_at_a_hidden_question_brings_the_echo_back() {
    let (desk, mut console) = Desk::new();
    let signals = Signals::take().unwrap();
    let (conversation, thread) = peer(|peer| {
        peer.greets();
        peer.challenges();
        assert!(matches!(peer.hears(), Some(Say::Leave)));
    });
    // Raised for this thread and blocked until it is waited for: no matter when.
    raise(Signal::SIGINT).unwrap();
    let end = talk_with(conversation, &mut console, &signals, Wait::Machines).unwrap();
    assert!(matches!(end, End::Left { last: None, why: Leaving::Interrupted }), "{end:?}");
    drop(thread);
    assert!(desk.has_echo());
}

#[test]
fn waiting_is_left_on_ctrl_c_and_the_request_stays() {
    let (desk, mut console) = Desk::new();
    let signals = Signals::take().unwrap();
    let (near, far) = UnixStream::pair().unwrap();
    let mut peer = Peer(far);
    // The peer's part is said before: it fits into the socket, and the signal comes after it was taken.
    peer.says(&Reply::Hello { version: VERSION });
    peer.says(&Reply::Progress(Box::new(pending())));
    let mut conversation = Conversation::over(near, None).unwrap();
    let mut seen = 0;
    let mut told = |console: &mut Console, told: Told<'_>| {
        if let Told::Progress(view, before) = told {
            progress::changes(view, before, &at()).iter().for_each(|line| console.say(line));
            seen += 1;
            raise(Signal::SIGINT).unwrap();
        }
    };
    let end = Talk::new(&mut conversation, &mut console, &signals, Wait::People(None))
        .ask(&Ask::FactorTest, &mut told)
        .unwrap();
    assert!(
        matches!(end, End::Left { last: Some(view), why: Leaving::Interrupted } if view.state == State::Pending)
    );
    assert_eq!(seen, 1);
    assert!(matches!(peer.hears(), Some(Say::Hello { .. })));
    assert!(matches!(peer.hears(), Some(Say::Ask(_))));
    assert!(matches!(peer.hears(), Some(Say::Leave)));
    assert!(desk.screen("resume: elevate R-7K2M").contains("Needs 2 of carol, grace, heidi."));
}

#[test]
fn waiting_ends_when_its_time_is_over_or_people_are_not_waited_for() {
    for wait in [Wait::People(Some(Duration::from_millis(20))), Wait::Machines] {
        let (_desk, mut console) = Desk::new();
        let (conversation, thread) = peer(|peer| {
            peer.greets();
            peer.says(&Reply::Progress(Box::new(pending())));
            assert!(matches!(peer.hears(), Some(Say::Leave)));
        });
        let end = talk(conversation, &mut console, wait).unwrap();
        assert!(matches!(end, End::Left { last: Some(_), why: Leaving::TimeOver }), "{wait:?}: {end:?}");
        thread.join().unwrap();
    }
}

#[test]
fn silence_hanging_up_and_other_versions_have_their_exit_codes() {
    let (_desk, mut console) = Desk::new();
    let (near, silent) = UnixStream::pair().unwrap();
    let signals = Signals::take().unwrap();
    let mut conversation = Conversation::over(near, None).unwrap();
    let mut talk_silent = Talk::new(&mut conversation, &mut console, &signals, Wait::Machines);
    talk_silent.patience = Duration::from_millis(20);
    let error = talk_silent.ask(&Ask::Whoami, &mut |_, _| {}).unwrap_err();
    assert_eq!((error.code().exit(), matches!(error, TalkError::Silent(_))), (8, true));
    drop(silent);

    let (conversation, thread) = peer(|peer| {
        peer.greets();
    });
    let error = talk(conversation, &mut console, Wait::Machines).unwrap_err();
    assert_eq!(error.code().exit(), 8, "{error}");
    thread.join().unwrap();

    let (conversation, thread) = peer(|peer| {
        peer.hears();
        peer.says(&Reply::Refused(Refusal::new(Code::Version, "speaks 2 to 3")));
    });
    let end = talk(conversation, &mut console, Wait::Machines).unwrap();
    assert!(matches!(end, End::Refused(refusal) if refusal.code == Code::Version));
    thread.join().unwrap();

    let (conversation, thread) = peer(|peer| {
        peer.hears();
        peer.says(&Reply::Hello { version: VERSION + 1 });
    });
    assert!(matches!(talk(conversation, &mut console, Wait::Machines), Err(TalkError::Version(_))));
    thread.join().unwrap();
}

/// "run in a pty; capture; hexdump shows no control bytes".
#[test]
fn b13_nothing_that_others_wrote_controls_the_terminal() {
    const HOSTILE: &str = "\x1b]52;c;ZXZpbA==\x07\u{9b}2J\u{202e}\x1b[?1049h";
    let (desk, mut console) = Desk::new();
    console.behave(|manner| (manner.out_colour, manner.err_colour) = (false, false));
    let (conversation, thread) = peer(|peer| {
        peer.greets();
        let mut hostile = pending();
        hostile.short = HOSTILE.into();
        hostile.reason = Some(UntrustedText::lossy(HOSTILE));
        peer.says(&Reply::Progress(Box::new(hostile)));
        peer.says(&Reply::Verdict { accepted: false, tries: 0, message: Some(HOSTILE.into()) });
        peer.says(&Reply::Event(format!("{{\"x\":\"{}\"}}", HOSTILE.replace('\x1b', "\u{7f}"))));
        peer.says(&Reply::Refused(Refusal::new(Code::Usage, HOSTILE).hint(HOSTILE)));
    });
    let end = talk(conversation, &mut console, Wait::People(None)).unwrap();
    let End::Refused(refusal) = end else { panic!("{end:?}") };
    crate::failure::tell(&mut console, &refusal, false);
    crate::failure::tell(&mut console, &refusal, true);
    console.warn(&Line::plain("the end"));
    thread.join().unwrap();
    let screen = desk.screen("the end");
    let bad: Vec<char> =
        screen.chars().filter(|c| (c.is_control() && *c != '\r' && *c != '\n') || *c == '\u{202e}').collect();
    assert!(bad.is_empty(), "{bad:?} in {screen:?}");
    assert!(screen.contains("\\u{1b}]52"), "it is shown, escaped: {screen}");
}

/// Free text with control characters is no message at all: the conversation ends before anything is shown.
#[test]
fn b13_a_prompt_with_control_characters_breaks_the_conversation() {
    let (desk, mut console) = Desk::new();
    let (conversation, thread) = peer(|peer| {
        peer.greets();
        let body = br#"{"prompt":{"text":"\u001b]0;x\u0007","echo":false}}"#;
        let mut raw = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        raw.extend_from_slice(body);
        peer.0.write_all(&raw).unwrap();
    });
    let error = talk(conversation, &mut console, Wait::Machines).unwrap_err();
    assert!(error.to_string().contains("conversation broke"), "{error}");
    thread.join().unwrap();
    assert!(desk.shown.lock().unwrap().is_empty() && desk.has_echo());
}
