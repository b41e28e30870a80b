use super::*;
use crate::detail::Used;
use crate::event::Subject;
use crate::kind::Kind;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Timestamp;
use proptest::prelude::*;

fn event(kind: Kind) -> Event {
    Event {
        seq: 7,
        at: Timestamp(1_800_000_000),
        actor: Actor::Person("alice".parse().unwrap()),
        subject: Subject { person: "alice".parse().ok(), role: "web-ops".parse().ok(), ..Subject::default() },
        door: None,
        kind,
    }
}

fn origin() -> Origin {
    Origin { host: "daemon1".into(), pid: 42 }
}

/// A reader of RFC 5424 of its own: header, one element, message.
fn parse(message: &str) -> (String, BTreeMap<String, String>, String) {
    let mut head = message.splitn(7, ' ');
    let fields: Vec<&str> = head.by_ref().take(6).collect();
    let rest = head.next().unwrap();
    let mut letters = rest.strip_prefix(&format!("[{SD_ID}")).unwrap().chars();
    let mut found = BTreeMap::new();
    loop {
        match letters.next().unwrap() {
            ']' => break,
            ' ' => {
                let name: String = letters.by_ref().take_while(|c| *c != '=').collect();
                assert_eq!(letters.next(), Some('"'));
                let mut value = String::new();
                loop {
                    match letters.next().unwrap() {
                        '\\' => value.push(letters.next().unwrap()),
                        '"' => break,
                        c => value.push(c),
                    }
                }
                found.insert(name, value);
            }
            other => panic!("{other:?} in structured data"),
        }
    }
    assert_eq!(letters.next(), Some(' '));
    (fields.join(" "), found, letters.collect())
}

proptest! {
    // Threat I01: newline, CRLF, ], ", \, NUL, bidi, long text.
    #[test]
    fn i01_no_text_makes_a_second_message_or_field(texts in proptest::collection::vec("[\\PC\\x00-\\x1f\\]\"\\\\\u{80}-\u{9f}\u{2028}\u{202e}]{0,40}", 0..8), host in "[\\PC\\x00-\\x20]{0,12}") {
        let words: Vec<UntrustedText> = texts.iter().map(|t| UntrustedText::lossy(t)).collect();
        let used = Used { uid: 2000, service: UntrustedText::lossy("sudo"), run_as: None, argv: words.clone(),
            directory: words.first().cloned(), terminal: None, pid: 9 };
        let event = event(Kind::HostUsed { number: 1, host_time: Timestamp(1), grants: vec![], used });
        let bytes = to_syslog(&event, &Origin { host, pid: 1 }, SYSLOG_MAX).unwrap();
        prop_assert!(bytes.len() <= SYSLOG_MAX);
        let text = String::from_utf8(bytes).unwrap();
        prop_assert!(!text.chars().any(char::is_control), "{text:?}");
        let (head, found, message) = parse(&text);
        prop_assert!(head.starts_with("<85>1 ") && head.ends_with(" elevated 1 0"), "{head}");
        prop_assert_eq!(found.keys().collect::<Vec<_>>(), ["actor", "at", "code", "person", "role", "seq"]);
        prop_assert_eq!(Event::from_line(&message).unwrap(), event);
    }

    #[test]
    fn i01_any_canonical_line_is_one_line_and_reads_back(text in "[\\PC\\x00-\\x1f]{0,300}") {
        let event = event(Kind::RequestRefused { why: UntrustedText::lossy(&text) });
        let line = event.to_line().unwrap();
        prop_assert!(!line.chars().any(char::is_control));
        prop_assert_eq!(Event::from_line(&line).unwrap(), event);
    }
}

#[test]
fn i01_a_login_like_actor_cannot_leave_its_parameter() {
    let mut event = event(Kind::RequestWithdrawn {});
    event.door = Some(crate::Door::Key {
        fingerprint: "SHA256:\" evil=\"1] \\".into(),
        address: "10.1.2.3".parse().unwrap(),
    });
    let text = String::from_utf8(to_syslog(&event, &origin(), SYSLOG_MAX).unwrap()).unwrap();
    let (_, found, message) = parse(&text);
    assert!(!found.contains_key("evil"));
    assert_eq!(Event::from_line(&message).unwrap(), event);
}

#[test]
fn a_long_event_is_cut_and_named_by_its_digest() {
    let argv = vec![UntrustedText::lossy(&"é".repeat(500)); 20];
    let used = Used {
        uid: 2000,
        service: UntrustedText::lossy("sudo"),
        run_as: None,
        argv,
        directory: None,
        terminal: None,
        pid: 9,
    };
    let event = event(Kind::HostUsed { number: 1, host_time: Timestamp(1), grants: vec![], used });
    let line = event.to_line().unwrap();
    let digest = Digest::of(line.as_bytes()).to_string();
    for longest in [SYSLOG_MAX, DATAGRAM_MAX] {
        let bytes = to_syslog(&event, &origin(), longest).unwrap();
        assert!((longest - 4..=longest).contains(&bytes.len()), "all of the room is used: {}", bytes.len());
        let (_, _, message) = parse(std::str::from_utf8(&bytes).unwrap());
        let (kept, named) = message.split_once("… ").unwrap();
        assert_eq!((line.starts_with(kept), named), (true, digest.as_str()));
    }
}

#[test]
fn the_canonical_form_is_fixed_byte_for_byte() {
    let event = event(Kind::RequestDenied { reason: UntrustedText::lossy("not \"now\"") });
    let line = event.to_line().unwrap();
    assert_eq!(
        line,
        r#"{"actor":{"person":"alice"},"at":1800000000,"code":"request.denied","details":{"reason":"not \"now\""},"person":"alice","role":"web-ops","seq":7}"#
    );
    assert!(matches!(Event::from_line(&line.replace(":7}", ":7 }")), Err(EventError::NotCanonical)));
    assert!(matches!(Event::from_line(&line[1..]), Err(EventError::Form { .. })));
}

#[test]
fn every_code_stands_in_the_documentation() {
    let text = include_str!("../../docs/events.md");
    for code in Kind::CODES {
        assert!(text.contains(&format!("| `{code}` |")), "{code} is missing in docs/events.md");
    }
}
