//! `elevate-agent enroll`, `unenroll` and `doctor` with the real sudo, PAM and pam_elevate.so, in a private mount namespace.
//!
//! In: the built programs. Out: pass or fail. Runs as: root (mounts); the real /etc is not touched. Only the networked half is a
//! stand-in, so that the daemon's answer can be chosen; the suites in tests/ run it against a real daemon.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use elevate_protocol::id::{ClusterId, HostId};
use elevate_protocol::message::enrol::{EnrolReply, Enrolled};
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::paste::{Paste, PasteKind};
use elevate_protocol::secret::Secret;
use elevate_protocol::signed::TrustedKeys;
use ssh_key::{PrivateKey, private::Ed25519Keypair};

/// Lays a writable copy of the system's folders over them, then runs `$SITE/do`. Everything is gone with the namespace.
const INSIDE: &str = r#"
set -e
mount --make-rprivate /
mkdir -p "$SITE/over"
mount -t tmpfs none "$SITE/over"
over() { mkdir -p "$SITE/over/$1/up" "$SITE/over/$1/work"
  mount -t overlay none -o "lowerdir=$2,upperdir=$SITE/over/$1/up,workdir=$SITE/over/$1/work" "$2"; }
over etc /etc
over lib /var/lib
pam=$(dirname "$(find /usr/lib /lib -name pam_unix.so 2>/dev/null | head -n 1)")
over pam "$pam"
mount -t tmpfs none /run
cp "$SITE/module" "$pam/pam_elevate.so"
chmod 0644 "$pam/pam_elevate.so"
echo 'elevate-link:x:64999:64999::/var/lib/elevate-link:/usr/sbin/nologin' >> /etc/passwd
echo 'nobody ALL=(root) NOPASSWD: /usr/bin/whoami' > /etc/sudoers.d/site
chmod 0440 /etc/sudoers.d/site
printf 'local edit, no line end' >> /etc/pam.d/sudo-i
sed -i '$ s/^local edit/# local edit/' /etc/pam.d/sudo-i
agent="$SITE/usr/sbin/elevate-agent"
names() { find /etc /run/elevate /var/lib/elevate /var/lib/elevate-link -printf '%y %p %m %U %G %l\n' 2>/dev/null | sort; }; sums() { find /etc /var/lib/elevate /var/lib/elevate-link -type f -print0 2>/dev/null | sort -z | xargs -0 sha256sum; }
stamps() { find /etc -type f -printf '%p %T@\n' | sort; }
as_nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups sudo -n "$@"; }
set +e
. "$SITE/do"
"#;

struct Site {
    place: tempfile::TempDir,
}

fn deps() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_owned()
}

fn enrolled() -> EnrolReply {
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&[5; 32]));
    EnrolReply::Enrolled(Enrolled {
        host: HostId::from_random([1; 16]),
        name: "web1".parse().unwrap(),
        cluster: ClusterId::from_random([7; 16]),
        epoch: 3,
        grant_signers: TrustedKeys::one(key.public_key().clone()).unwrap().to_signers().unwrap(),
        user_ca: Default::default(),
        host_ca: Default::default(),
    })
}

fn paste(address: &str, token: &str) -> Secret {
    let (address, token) = (address.into(), Some(Secret::new(token.into())));
    let fingerprint = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU".into();
    Paste { kind: PasteKind::Host, address, fingerprint, token }.to_line()
}

impl Site {
    fn new(reply: &EnrolReply) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "run as root: this test mounts and runs sudo");
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let site = Self { place };
        let module = deps().join("libpam_elevate.so");
        assert!(module.exists(), "{} is not built: cargo build -p pam-elevate", module.display());
        fs::copy(module, site.at("module")).unwrap();
        for folder in ["usr/sbin", "usr/libexec/elevate"] {
            fs::create_dir_all(site.at(folder)).unwrap();
        }
        fs::copy(env!("CARGO_BIN_EXE_elevate-agent"), site.at("usr/sbin/elevate-agent")).unwrap();
        fs::write(site.at("reply"), serde_json::to_string(reply).unwrap()).unwrap();
        let code = u8::from(matches!(reply, EnrolReply::Refused(_)));
        let reply = site.at("reply");
        site.link(&format!("cat {}; echo; exit {code}", reply.display()));
        let paste = paste("daemon.example:7022", "01AB0000000000000000000000");
        fs::write(site.at("paste"), paste.expose()).unwrap();
        site
    }

    fn at(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// The networked half: checks that it is the unprivileged account and that it was asked, then does `rest`.
    fn link(&self, rest: &str) {
        let path = self.at("usr/libexec/elevate/elevate-link");
        let text = format!(
            "#!/bin/sh\n[ \"$(/usr/bin/id -u -n) $(/usr/bin/id -G) $*\" = 'elevate-link 64999 enroll' ] || exit 9\n\
             case $(/usr/bin/cat) in *01AB0000000000000000000000*) ;; *) exit 8 ;; esac\n\
             umask 077; echo key > /var/lib/elevate-link/key\nPATH=/usr/bin:/bin\n{rest}\n"
        );
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs a script inside; its exit code and everything it said.
    fn inside(&self, script: &str) -> (Option<i32>, String) {
        fs::write(self.at("do"), format!("{script}\n")).unwrap();
        let output = Command::new("unshare")
            .args(["-m", "sh", "-c", INSIDE])
            .env_clear()
            .env("SITE", self.place.path())
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    }

    /// Enrols, expects that it fails, and that every file is as it was: names, modes, owners, contents, times.
    fn is_put_back(&self) -> String {
        let (code, said) = self.inside(
            "names > $SITE/names; sums > $SITE/sums; stamps > $SITE/stamps\n\
             $agent enroll --yes --no-services < $SITE/paste && exit 90\n\
             names | diff $SITE/names - && sums | diff $SITE/sums - && stamps | diff $SITE/stamps - || exit 91\n\
             as_nobody whoami && sudo -n whoami && exit 0",
        );
        assert_eq!(code, Some(0), "{said}");
        said
    }
}

fn build(source: &str, to: &Path) {
    let file = to.with_extension("c");
    fs::write(&file, source).unwrap();
    assert!(
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(to).arg(file).status().unwrap().success()
    );
}

#[test]
fn a_host_is_enrolled_proved_and_unenrolled_again() {
    let site = Site::new(&enrolled());
    let (code, said) = site.inside(
        "names > $SITE/names; sums > $SITE/sums\n\
         $agent enroll --yes --no-services < $SITE/paste || exit 90\n\
         head -n 6 /etc/pam.d/sudo; cat /etc/sudoers.d/zz-elevate /etc/elevate/agent.toml /etc/elevate/trust/grant_signers\n\
         stat -c '%n %a %U' /etc/elevate/keys /etc/elevate/keys/vouch /etc/elevate/agent.toml /etc/sudoers.d/zz-elevate /etc/pam.d/sudo\n\
         [ -z \"$(find /run/elevate -type f)\" ] || exit 89; cat /var/lib/elevate/position\n\
         test -e /etc/sudoers.d/zz-elevate-canary && exit 91\n\
         as_nobody whoami || exit 92\n\
         as_nobody id -u && exit 93\n\
         sums > $SITE/enrolled\n\
         $agent enroll --yes --no-services < $SITE/paste || exit 94\n\
         sums | diff $SITE/enrolled - || exit 95\n\
         $agent unenroll --no-services || exit 96\n\
         sums | diff $SITE/sums - || exit 97\n\
         names | grep -v '^d ' > $SITE/after; grep -v '^d ' $SITE/names | diff - $SITE/after || exit 98\n\
         as_nobody whoami && sudo -n whoami",
    );
    assert_eq!(code, Some(0), "{said}");
    for expected in [
        "#%PAM-1.0\n# elevate begin",
        "@includedir /run/elevate/sudoers.d\n",
        "name = \"web1\"",
        "daemon = \"daemon.example:7022\"",
        "grants namespaces=\"elevate-grant@v1\" ssh-ed25519 ",
        "/etc/elevate/keys 700 root\n/etc/elevate/keys/vouch 600 root\n/etc/elevate/agent.toml 644 root\n/etc/sudoers.d/zz-elevate 440 root\n/etc/pam.d/sudo 644 root\n",
        "\"epoch\":3,\"seq\":0",
        "Enrolled: this host is web1",
        "already enrolled: this host is web1",
        "This host is no longer enrolled",
    ] {
        assert!(said.contains(expected), "{expected} is missing in: {said}");
    }
}

// Administrators type `enroll` at a terminal, and sudo writes there what it says where there is one.
#[test]
fn a_host_is_enrolled_at_a_terminal() {
    let site = Site::new(&enrolled());
    let (code, said) = site.inside(
        "printf '#!/bin/sh\\n%s enroll --yes --no-services < %s\\n' \"$agent\" \"$SITE/paste\" > $SITE/typed; chmod 755 $SITE/typed\n\
         script -q -e -c $SITE/typed /dev/null || exit 90\n\
         test -e /etc/sudoers.d/zz-elevate",
    );
    assert_eq!(code, Some(0), "{said}");
}

// THREATS A17: what an agent that died has left gives nobody a right, and unenroll removes it without the agent.
#[test]
fn a17_unenroll_beside_a_dead_agent_leaves_no_rule_behind() {
    let site = Site::new(&enrolled());
    let (code, said) = site.inside(
        "sums > $SITE/sums; $agent enroll --yes --no-services < $SITE/paste || exit 90\n\
         rule=\"# elevate grants 01040G2081040G2081040G2081\n#65534 ALL=(root) NOPASSWD: /usr/bin/id -u\"\n\
         printf '%b\\n' \"$rule\" > /run/elevate/sudoers.d/u65534; chmod 440 /run/elevate/sudoers.d/u65534\n\
         as_nobody id -u && exit 91\n\
         printf '%b\\n' \"$rule\" > /run/elevate/sudoers.d/u65534; chmod 440 /run/elevate/sudoers.d/u65534\n\
         $agent unenroll --no-services || exit 92\n\
         [ -z \"$(find /run/elevate /var/lib/elevate -type f)\" ] || exit 93\n\
         as_nobody id -u && exit 94\n\
         as_nobody whoami && sums | diff $SITE/sums -",
    );
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("elevate: grant ended, run it again"), "{said}");
}

#[test]
fn h02_everything_is_put_back_when_the_daemon_refuses() {
    let refusal = Refusal { code: Code::Usage, message: "this token was used before".into(), hint: None };
    let said = Site::new(&EnrolReply::Refused(refusal)).is_put_back();
    assert!(said.contains("the daemon refused: this token was used before"), "{said}");
    assert!(said.contains("Everything was put back as it was.") && said.contains("hint: "), "{said}");
}

#[test]
fn everything_is_put_back_when_the_link_dies_or_talks_nonsense() {
    for rest in ["kill -9 $$", "echo '{\"enrolled\":{}}'", "echo 'elevate-link: error: no route' >&2; exit 1"]
    {
        let site = Site::new(&enrolled());
        site.link(rest);
        let said = site.is_put_back();
        assert!(said.contains("elevate-link could not ask the daemon"), "{said}");
    }
}

#[test]
fn everything_is_put_back_when_the_module_is_no_gate() {
    let site = Site::new(&enrolled());
    fs::copy("/bin/true", site.at("module")).unwrap();
    let said = site.is_put_back();
    assert!(said.contains("a managed rule without a grant was not refused by the gate"), "{said}");
    build("int pam_sm_acct_mgmt(void*h,int f,int c,const char**v){return 25;}", &site.at("module"));
    let said = site.is_put_back();
    assert!(said.contains("was not refused by the gate"), "{said}");
}

#[test]
fn everything_is_put_back_when_the_module_would_lock_everybody_out() {
    let site = Site::new(&enrolled());
    build("int pam_sm_acct_mgmt(void*h,int f,int c,const char**v){return 6;}", &site.at("module"));
    let said = site.is_put_back();
    assert!(said.contains("root's own sudo would no longer work"), "{said}");
}

#[test]
fn nothing_is_changed_where_nothing_can_be_proved() {
    let site = Site::new(&enrolled());
    let (code, said) = site.inside(
        "sed -i '/includedir/d' /etc/sudoers; names > $SITE/names; sums > $SITE/sums\n\
         $agent enroll --yes --no-services < $SITE/paste && exit 90\n\
         names | diff $SITE/names - && sums | diff $SITE/sums -",
    );
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("an ordinary sudo rule does not work on this host even before anything is changed"),
        "{said}"
    );
}

#[test]
fn an_enrolment_that_was_killed_is_swept_up_by_the_next() {
    let site = Site::new(&enrolled());
    let pipe = site.at("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    fs::set_permissions(&pipe, fs::Permissions::from_mode(0o666)).unwrap();
    let reply = site.at("reply");
    let pipe = pipe.display();
    // The first link says that it was reached and waits for ever; the second answers.
    site.link(&format!(
        "[ -e {pipe} ] && {{ echo reached > {pipe}; read -r never < {pipe}; }}\ncat {}; echo",
        reply.display()
    ));
    let (code, said) = site.inside(
        "names > $SITE/names; sums > $SITE/sums\n\
         $agent enroll --yes --no-services < $SITE/paste & read -r reached < $SITE/pipe; kill -9 $!; wait $!; rm $SITE/pipe\n\
         sums | diff -q $SITE/sums - > /dev/null && exit 90\n\
         as_nobody whoami && sudo -n whoami || exit 91\n\
         $agent enroll --yes --no-services < $SITE/paste || exit 92\n\
         grep -c pam_elevate /etc/pam.d/sudo; $agent unenroll --no-services || exit 93\n\
         sums | diff $SITE/sums -",
    );
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("\n3\n"), "{said}");
}

#[test]
fn h02_a_paste_string_on_the_command_line_is_refused() {
    let site = Site::new(&enrolled());
    let (code, said) = site.inside(
        "sums > $SITE/sums; $agent enroll --yes \"$(cat $SITE/paste)\" && exit 90; sums | diff $SITE/sums -",
    );
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("every account of this host can read it") && !said.contains("01AB0000"), "{said}");
}

#[test]
fn without_a_word_about_roots_own_way_in_nothing_is_changed() {
    let site = Site::new(&enrolled());
    let (code, said) = site.inside(
        "sums > $SITE/sums; setsid $agent enroll --no-services < $SITE/paste && exit 90; sums | diff $SITE/sums -",
    );
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("nothing was changed") && said.contains("hint: try it, then"), "{said}");
}

#[test]
fn a_missing_account_or_module_is_told_with_what_to_type() {
    let site = Site::new(&enrolled());
    let (_, said) = site.inside("sed -i /elevate-link/d /etc/passwd; $agent enroll --yes < $SITE/paste");
    assert!(
        said.contains("there is no account elevate-link") && said.contains("hint: systemd-sysusers"),
        "{said}"
    );
    let (_, said) = site.inside("rm $pam/pam_elevate.so; $agent enroll --yes < $SITE/paste");
    assert!(said.contains("pam_elevate.so is not in the system's PAM folder"), "{said}");
}

#[test]
fn enroll_puts_lines_back_that_a_package_has_replaced() {
    let site = Site::new(&enrolled());
    let (code, said) = site.inside(
        "cp -p /etc/pam.d/sudo $SITE/old\n\
         $agent enroll --yes --no-services < $SITE/paste || exit 90\n\
         sums > $SITE/sums; cp -p $SITE/old /etc/pam.d/sudo; rm /etc/sudoers.d/zz-elevate\n\
         $agent enroll < /dev/null || exit 91\n\
         sums | diff $SITE/sums -",
    );
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("already enrolled as web1; the lines for sudo were missing or changed"), "{said}");
}

// A paste string of another host or another daemon must not look as if it had been taken.
#[test]
fn h02_an_enrolled_host_refuses_another_paste_string_and_stays_as_it_is() {
    let site = Site::new(&enrolled());
    for (name, address, token) in [
        ("other-host", "daemon.example:7022", "01AB0000000000000000000001"),
        ("other-daemon", "other.example:7022", "01AB0000000000000000000000"),
    ] {
        fs::write(site.at(name), paste(address, token).expose()).unwrap();
    }
    fs::write(site.at("nonsense"), "elevate1,host\n").unwrap();
    let (code, said) = site.inside(
        "$agent enroll --yes --no-services < $SITE/paste || exit 90\n\
         sums > $SITE/sums\n\
         for other in other-host other-daemon nonsense; do\n\
         $agent enroll --yes --no-services < $SITE/$other && exit 91\n\
         $agent enroll --yes --no-services --file $SITE/$other && exit 92\n\
         done\n\
         sums | diff $SITE/sums - || exit 93\n\
         $agent enroll --file $SITE/paste || exit 94\n\
         sums | diff $SITE/sums -",
    );
    assert_eq!(code, Some(0), "{said}");
    let refused = "error: this host is enrolled already as web1 with the daemon at daemon.example:7022, and not with this paste string";
    assert_eq!(said.matches(refused).count(), 4, "{said}");
    assert!(said.contains("first: elevate-agent unenroll"), "{said}");
    assert!(said.contains("no usable paste string"), "{said}");
}

#[test]
fn doctor_names_what_is_wrong_and_what_to_type() {
    let site = Site::new(&enrolled());
    let (code, said) = site.inside(
        "$agent enroll --yes --no-services < $SITE/paste || exit 90\n\
         echo 'Defaults:nobody !pam_acct_mgmt' > /etc/sudoers.d/off; chmod 440 /etc/sudoers.d/off\n\
         sed -i 's/default=die/default=ignore/' /etc/pam.d/sudo-i\n\
         chmod 0644 /etc/elevate/keys/vouch; rm /etc/sudoers.d/zz-elevate\n\
         echo ---; $agent doctor",
    );
    assert_eq!(code, Some(1), "{said}");
    let said = said.split_once("---\n").unwrap().1;
    for expected in [
        "ok       enrolled as web1 with daemon.example:7022",
        "ok       Sudo version 1.9.",
        "ok       /etc/pam.d/sudo: the gate comes first",
        "problem  /etc/pam.d/sudo-i does not have our lines first",
        "problem  /etc/sudoers.d/zz-elevate does not have the line @includedir",
        "problem  /etc/sudoers.d/off:1: `!pam_acct_mgmt` lets sudo pass by the gate",
        "problem  /etc/elevate/keys/vouch is not root's alone",
        "problem  the agent does not answer",
    ] {
        assert!(said.contains(expected), "{expected} is missing in: {said}");
    }
    let problems = said.matches("problem  ").count();
    assert_eq!(said.matches("         do: ").count(), problems, "{said}");
}
