//! Tests of client.toml. In: files in a folder of their own. Out: what is chosen, kept and refused.

use std::os::unix::fs::PermissionsExt;

use super::*;

const PIN: &str = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";
const OTHER: &str = "SHA256:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0";

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
    fn own(&self) -> PathBuf {
        self.0.path().join("home/.config/elevate/client.toml")
    }
    fn site(&self) -> PathBuf {
        self.0.path().join("site.toml")
    }
    fn choose(&self, wanted: Option<&str>) -> Result<Option<Daemon>, SettingsError> {
        choose(&self.own(), &self.site(), uid(), wanted)
    }
    fn write_site(&self, text: &str) {
        std::fs::write(self.site(), text).unwrap();
        std::fs::set_permissions(self.site(), PermissionsExt::from_mode(0o644)).unwrap();
    }
}

fn uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

fn line(kind: PasteKind, address: &str, fingerprint: &str) -> String {
    let token = (kind != PasteKind::Daemon).then(|| Secret::new("01AB0000000000000000000000".into()));
    Paste { kind, address: address.into(), fingerprint: fingerprint.into(), token }
        .to_line()
        .expose()
        .to_owned()
}

#[test]
fn login_keeps_address_key_and_invitation_for_nobody_else_to_read() {
    let place = Place::new();
    keep(&place.own(), uid(), &line(PasteKind::Person, "daemon.example:7022", PIN)).unwrap();
    assert_eq!(std::fs::metadata(place.own()).unwrap().mode() & 0o777, 0o600);
    let daemon = place.choose(None).unwrap().unwrap();
    assert_eq!(daemon.server(), Server { address: "daemon.example:7022".into(), fingerprint: PIN.into() });
    assert_eq!(daemon.invitation.unwrap().expose(), "01AB0000000000000000000000");
    let names: Vec<_> = std::fs::read_dir(place.own().parent().unwrap()).unwrap().collect();
    assert_eq!(names.len(), 1, "no temporary file is left");

    forget_invitation(&place.own(), uid(), &place.choose(None).unwrap().unwrap().server()).unwrap();
    assert!(place.choose(None).unwrap().unwrap().invitation.is_none());
}

#[test]
fn the_latest_login_comes_first_and_a_server_is_chosen_by_name_or_address() {
    let place = Place::new();
    keep(&place.own(), uid(), &line(PasteKind::Daemon, "one.example:7022", PIN)).unwrap();
    keep(&place.own(), uid(), &line(PasteKind::Daemon, "two.example:7022", OTHER)).unwrap();
    let address = |wanted| place.choose(wanted).unwrap().unwrap().server().address;
    assert_eq!(address(None), "two.example:7022");
    assert_eq!(address(Some("one.example")), "one.example:7022");
    assert_eq!(address(Some("one.example:7022")), "one.example:7022");
    let refused = place.choose(Some("evil.example:7022")).unwrap_err();
    assert!(matches!(&refused, SettingsError::NotPinned { wanted } if wanted == "evil.example:7022"));
    assert_eq!(refused.code().exit(), 2);
}

#[test]
fn h06_another_key_for_a_known_address_is_not_taken_over() {
    let place = Place::new();
    keep(&place.own(), uid(), &line(PasteKind::Daemon, "one.example:7022", PIN)).unwrap();
    let refused = keep(&place.own(), uid(), &line(PasteKind::Person, "one.example:7022", OTHER)).unwrap_err();
    assert!(matches!(refused, SettingsError::OtherKey { .. }), "{refused}");
    assert_eq!(refused.code().exit(), 10);
    assert_eq!(place.choose(None).unwrap().unwrap().server().fingerprint, PIN);
}

#[test]
fn strings_for_hosts_and_damaged_strings_are_refused() {
    let place = Place::new();
    let host = keep(&place.own(), uid(), &line(PasteKind::Host, "one.example:7022", PIN));
    assert!(matches!(host, Err(SettingsError::ForHost)));
    let mut cut = line(PasteKind::Person, "one.example:7022", PIN);
    cut.pop();
    assert!(matches!(keep(&place.own(), uid(), &cut), Err(SettingsError::Paste(_))));
    assert!(!place.own().exists());
}

#[test]
fn the_sites_daemon_counts_after_the_persons_own() {
    let place = Place::new();
    place.write_site(&format!(
        "[[daemon]]\nname = \"main\"\naddress = \"site.example:7022\"\nfingerprint = \"{PIN}\"\n"
    ));
    if uid() == 0 {
        assert_eq!(place.choose(None).unwrap().unwrap().server().address, "site.example:7022");
        assert!(place.choose(Some("main")).unwrap().is_some());
        keep(&place.own(), uid(), &line(PasteKind::Daemon, "own.example:7022", PIN)).unwrap();
        assert_eq!(place.choose(None).unwrap().unwrap().server().address, "own.example:7022");
    } else {
        assert!(matches!(place.choose(None), Err(SettingsError::Foreign { .. })));
    }
}

#[test]
fn files_that_others_write_and_files_with_anything_odd_are_refused() {
    let place = Place::new();
    keep(&place.own(), uid(), &line(PasteKind::Daemon, "one.example:7022", PIN)).unwrap();
    std::fs::set_permissions(place.own(), PermissionsExt::from_mode(0o662)).unwrap();
    assert!(matches!(place.choose(None), Err(SettingsError::Foreign { why: "others may write it", .. })));
    for text in [
        "[[daemon]]\naddress = \"-oProxy=x:1\"\nfingerprint = \"SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU\"\n",
        "[[daemon]]\naddress = \"a:1\"\nfingerprint = \"any\"\n",
        "[[daemon]]\naddress = \"a:1\"\n",
        "insecure = true\n",
    ] {
        std::fs::write(place.own(), text).unwrap();
        std::fs::set_permissions(place.own(), PermissionsExt::from_mode(0o600)).unwrap();
        assert!(matches!(place.choose(None), Err(SettingsError::Form { .. })), "{text}");
    }
}
