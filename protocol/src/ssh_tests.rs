use super::*;
use ssh_key::PrivateKey;
use ssh_key::private::Ed25519Keypair;

fn parse(json: &str) -> Result<SshPart, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

fn ca(seed: u8) -> String {
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]));
    key.public_key().to_openssh().unwrap()
}

#[test]
fn a_part_reads_back_and_nothing_is_allowed_by_default_but_a_terminal() {
    let part = parse(r#"{"logins":["postgres"]}"#).unwrap();
    assert_eq!(part.logins(), ["postgres".parse::<Name>().unwrap()]);
    assert_eq!(part.options(), &SshOptions::default());
    assert_eq!(part.options().extensions(), ["permit-pty"]);
    assert_eq!(part.options().critical_options(), []);
    let full = parse(
        r#"{"logins":["deploy","root"],"forward":["x11","local","agent"],"pty":false,
           "source":["10.1.0.0/16","2001:db8::/32","192.0.2.7"],"command":"/usr/bin/backup --all"}"#,
    )
    .unwrap();
    let extensions = ["permit-X11-forwarding", "permit-agent-forwarding", "permit-port-forwarding"];
    assert_eq!(full.options().extensions(), extensions);
    let source = "10.1.0.0/16,2001:db8::/32,192.0.2.7".to_owned();
    let command = "/usr/bin/backup --all".to_owned();
    assert_eq!(full.options().critical_options(), [("force-command", command), ("source-address", source)]);
    assert_eq!(parse(&serde_json::to_string(&full).unwrap()), Ok(full));
}

#[test]
fn e10_a_part_of_another_form_is_refused() {
    let seventeen: Vec<String> = (0..17).map(|n| format!("\"a{n}\"")).collect();
    for text in [
        r#"{"logins":[]}"#.to_owned(),
        format!(r#"{{"logins":[{}]}}"#, seventeen.join(",")),
        r#"{"logins":["a","a"]}"#.into(),
        r#"{"logins":["*"]}"#.into(),
        r#"{"logins":["a,b"]}"#.into(),
        r#"{"logins":["a"],"forward":["tun"]}"#.into(),
        r#"{"logins":["a"],"forward":["local","local"]}"#.into(),
        r#"{"logins":["a"],"user_rc":true}"#.into(),
        r#"{"logins":["a"],"source":["10.1.0.1/16"]}"#.into(),
        r#"{"logins":["a"],"source":["10.1.0.0/33"]}"#.into(),
        r#"{"logins":["a"],"source":["10.1.0.0/016"]}"#.into(),
        r#"{"logins":["a"],"source":["10.0.0.0/8,0.0.0.0/0"]}"#.into(),
        r#"{"logins":["a"],"source":["db1"]}"#.into(),
        r#"{"logins":["a"],"source":["!10.0.0.1"]}"#.into(),
        r#"{"logins":["a"],"command":""}"#.into(),
        r#"{"logins":["a"],"command":"a\nb"}"#.into(),
        r#"{"logins":["a"],"command":" a"}"#.into(),
    ] {
        assert!(parse(&text).is_err(), "{text}");
    }
    assert_eq!("0.0.0.0/0".parse::<Source>().unwrap().to_string(), "0.0.0.0/0");
    assert_eq!("::/0".parse::<Source>().unwrap().to_string(), "::/0");
    assert_eq!("192.0.2.7/32".parse::<Source>().unwrap().to_string(), "192.0.2.7");
}

#[test]
fn e08_a_principal_is_one_grant_and_no_other_text_is_one() {
    let id = ActivationId::from_random([7; 16]);
    assert_eq!(of_principal(&principal(id)), Some(id));
    let letters = id.to_string();
    for text in [
        String::new(),
        "*".into(),
        letters.clone(),
        format!("elevate:{letters},root"),
        format!("elevate: {letters}"),
        format!("Elevate:{letters}"),
        format!("elevate:{letters}\n"),
        format!("elevate:{}", letters.to_lowercase()),
        "elevate:*".into(),
    ] {
        assert_eq!(of_principal(&text), None, "{text:?}");
    }
}

#[test]
fn only_plain_keys_that_sign_are_cas_and_none_stands_twice() {
    let cas = |keys: &[String]| serde_json::from_str::<Cas>(&serde_json::to_string(keys).unwrap());
    let both = cas(&[ca(1), ca(2)]).unwrap();
    assert_eq!(both.to_file(), format!("{}\n{}\n", ca(1), ca(2)));
    assert!(cas(&[]).unwrap().is_empty());
    for keys in [
        vec![ca(1), ca(1)],
        (1..=5).map(ca).collect(),
        vec![format!("{} comment", ca(1))],
        vec![format!("cert-authority {}", ca(1))],
        vec![format!("{}\n{}", ca(1), ca(2))],
        vec![String::new()],
    ] {
        assert!(cas(&keys).is_err(), "{keys:?}");
    }
}
