//! The built pam_elevate.so in real sudo and in pamtester, each in a private mount namespace with its own /etc and /run.
//!
//! In: the .so that cargo built. Out: pass or fail. Runs as: root (mounts); the real /etc is not touched.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use elevate_protocol::digest::Digest;
use elevate_protocol::document::{Act, Document, FORMAT, Grant};
use elevate_protocol::frame;
use elevate_protocol::id::{ActivationId, ClusterId, HostId};
use elevate_protocol::message::agent::UseKind;
use elevate_protocol::message::pam::{FromChild, PAM_FD, ToChild};
use elevate_protocol::message::person::{Outcome, Reply, Say};
use elevate_protocol::signed::{GRANT_NAMESPACE, SignedBody, SignedGrant, TrustedKeys};
use elevate_protocol::sudo::SudoPart;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::{Span, Timestamp};
use ssh_key::{PrivateKey, private::Ed25519Keypair};

/// `nobody`, who exists everywhere and has no rights.
const UID: u32 = 65534;

/// Lays the directories of `$SITE` over the system's, then runs `$SITE/do`. Everything is gone with the namespace.
const INSIDE: &str = r#"
set -e
mount --make-rprivate /
mkdir -p "$SITE/over" "$SITE/run"
mount -t tmpfs none "$SITE/over"
mkdir "$SITE/over/up" "$SITE/over/work"
mount -t overlay none -o "lowerdir=/etc,upperdir=$SITE/over/up,workdir=$SITE/over/work" /etc
mount --bind "$SITE/etc/pam.d" /etc/pam.d
mount --bind "$SITE/etc/sudoers.d" /etc/sudoers.d
cp -a "$SITE/etc/elevate" /etc/elevate
mount --bind "$SITE/run" /run
. "$SITE/do"
"#;

fn so() -> PathBuf {
    let deps = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let so = deps.join("libpam_elevate.so");
    assert!(so.exists(), "cargo builds {} with this test", so.display());
    so
}

fn now() -> Timestamp {
    Timestamp(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap())
}

struct Site {
    place: tempfile::TempDir,
    key: PrivateKey,
}

impl Site {
    fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "run as root: this test mounts and runs sudo");
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let site = Self { place, key: PrivateKey::from(Ed25519Keypair::from_seed(&[5; 32])) };
        let copied =
            Command::new("cp").args(["-a", "/etc/pam.d", "/etc/sudoers.d"]).arg(site.dir("etc")).status();
        assert!(copied.unwrap().success());
        let so = so();
        for service in ["sudo", "sudo-i"] {
            let path = site.at(&format!("etc/pam.d/{service}"));
            let so = so.display();
            let ours = format!(
                "#%PAM-1.0\nauth [default=ignore module_unknown=ignore] {so}\n\
                 account [success=ok ignore=ignore module_unknown=ignore default=die] {so}\n\
                 session [default=ignore module_unknown=ignore] {so}\n"
            );
            let before = fs::read_to_string(&path).unwrap();
            fs::write(&path, ours + before.trim_start_matches("#%PAM-1.0\n")).unwrap();
        }
        site.file("etc/sudoers.d/zz-elevate", "@includedir /run/elevate/sudoers.d\n", 0o440);
        site.file("etc/sudoers.d/ordinary", "nobody ALL=(root) NOPASSWD: /usr/bin/true\n", 0o440);
        let signers = TrustedKeys::one(site.key.public_key().clone()).unwrap().to_signers().unwrap();
        site.file("etc/elevate/trust/grant_signers", &signers, 0o644);
        site.file("etc/elevate/agent.toml", &format!("host = \"{}\"\n", host()), 0o644);
        site.dir("run/elevate/sudoers.d");
        site
    }

    fn at(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn dir(&self, name: &str) -> PathBuf {
        let path = self.at(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    fn file(&self, name: &str, text: &str, mode: u32) {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A grant of `/usr/bin/id -u` as root to nobody, and its drop-in.
    fn grant(&self, not_after: Timestamp) {
        let id = ActivationId::from_random([3; 16]);
        let command = vec!["/usr/bin/id".to_owned(), "-u".to_owned()].try_into().unwrap();
        let grant = Grant {
            id,
            revision: 1,
            person: "nobody".parse().unwrap(),
            login: "nobody".parse().unwrap(),
            uid: UID,
            request_digest: Digest::of(b""),
            role: "web-ops".parse().unwrap(),
            role_digest: Digest::of(b""),
            not_before: not_after.before(Span(7200)),
            not_after,
            duration: Span::HOUR,
            warn: vec![],
            sudo: SudoPart::only("root".parse().unwrap(), vec![command], vec![]).unwrap(),
            approvals: vec![],
            lease: None,
            critical: vec!["sudo".into()],
        };
        let cluster = ClusterId::from_random([7; 16]);
        let document = Document {
            format: FORMAT,
            cluster,
            host: host(),
            epoch: 1,
            seq: 1,
            act: Act::Grant(Box::new(grant)),
        };
        let signed = SignedBody::sign(document.to_line().unwrap(), &self.key, GRANT_NAMESPACE).unwrap();
        self.file(
            &format!("run/elevate/grants/u{UID}/{id}.grant"),
            &SignedGrant::new(signed).to_text(),
            0o400,
        );
        let dropin = format!("# elevate grants {id}\n#{UID} ALL=(root) NOPASSWD: /usr/bin/id -u\n");
        self.file(&format!("run/elevate/sudoers.d/u{UID}"), &dropin, 0o440);
    }

    fn dropin(&self) -> PathBuf {
        self.at(&format!("run/elevate/sudoers.d/u{UID}"))
    }

    fn inside(&self, script: &str, stdin: Stdio) -> Output {
        self.file("do", script, 0o644);
        let mut command = Command::new("unshare");
        command
            .args(["-m", "sh", "-c", INSIDE])
            .env_clear()
            .env("SITE", self.place.path())
            .env("FD", PAM_FD.to_string());
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(stdin).output().unwrap()
    }

    /// Runs sudo as nobody inside; exit code and standard error.
    fn sudo(&self, arguments: &str) -> (Option<i32>, String, String) {
        let script = format!("setpriv --reuid {UID} --regid {UID} --clear-groups sudo -n {arguments}");
        let output = self.inside(&script, Stdio::null());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }
}

fn host() -> HostId {
    HostId::from_random([1; 16])
}

#[test]
fn the_module_exports_libpams_six_entry_points_and_nothing_else() {
    let output = Command::new("nm").args(["-D", "--defined-only"]).arg(so()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut names: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().last()).collect();
    names.sort_unstable();
    let expected = ["acct_mgmt", "authenticate", "chauthtok", "close_session", "open_session", "setcred"];
    assert_eq!(names, expected.map(|name| format!("pam_sm_{name}")));
}

#[test]
fn real_sudo_obeys_the_gate() {
    let site = Site::new();
    let (code, _, error) = site.sudo("/usr/bin/id -u");
    assert_eq!(code, Some(1), "no grant: {error}");
    site.grant(now().after(Span::HOUR));
    let (code, out, error) = site.sudo("/usr/bin/id -u");
    assert_eq!((code, out.as_str()), (Some(0), "0\n"), "{error}");
    assert!(site.dropin().exists());
    let (code, _, error) = site.sudo("/usr/bin/true");
    assert_eq!(code, Some(0), "the ordinary rule beside it: {error}");

    site.grant(now());
    let (code, out, error) = site.sudo("/usr/bin/id -u");
    assert_eq!((code, out.as_str()), (Some(1), ""), "expired");
    assert!(error.contains("elevate: grant ended, run it again"), "{error}");
    assert!(!site.dropin().exists());
    let (code, _, error) = site.sudo("/usr/bin/true");
    assert_eq!(code, Some(0), "the ordinary rule is used as before: {error}");
    let (code, ..) = site.sudo("/usr/bin/id -u");
    assert_eq!(code, Some(1));
}

// `sudo -i` has a PAM service of its own (HOSTS §3).
#[test]
fn a_login_shell_passes_the_gate_too() {
    let site = Site::new();
    let id = ActivationId::from_random([9; 16]);
    let dropin = format!("# elevate grants {id}\n#{UID} ALL=(root) NOPASSWD: ALL\n");
    site.file(&format!("run/elevate/sudoers.d/u{UID}"), &dropin, 0o440);
    let (code, out, error) = site.sudo("-i /usr/bin/id -u");
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(error.contains("elevate: grant ended, run it again") && !site.dropin().exists(), "{error}");
}

#[test]
fn the_agent_is_told_of_each_managed_use_and_of_a_closed_gate() {
    let site = Site::new();
    site.grant(now().after(Span::HOUR));
    let listener = UnixListener::bind(site.at("run/elevate/agent.sock")).unwrap();
    let hear = || {
        let (mut stream, _) = listener.accept().unwrap();
        let said: Say = frame::read(&mut stream).unwrap().unwrap();
        frame::write(&mut stream, &Reply::Done(Outcome::Ok)).unwrap();
        match said {
            Say::Use(report) => report,
            Say::Hello { .. }
            | Say::Ask(_)
            | Say::Answer { .. }
            | Say::Confirm { .. }
            | Say::Input { .. }
            | Say::Leave => {
                panic!("{said:?}")
            }
        }
    };
    std::thread::scope(|scope| {
        let agent = scope.spawn(hear);
        assert_eq!(site.sudo("/usr/bin/id -u").0, Some(0));
        let report = agent.join().unwrap();
        assert_eq!((report.uid, report.kind, report.service.raw()), (UID, UseKind::Start, "sudo"));
        assert_eq!(report.run_as.unwrap().raw(), "root");
        let argv: Vec<&str> = report.argv.iter().map(UntrustedText::raw).collect();
        assert_eq!(argv, ["sudo", "-n", "/usr/bin/id", "-u"]);
    });
    site.grant(now());
    std::thread::scope(|scope| {
        let agent = scope.spawn(hear);
        assert_eq!(site.sudo("/usr/bin/id -u").0, Some(1));
        let report = agent.join().unwrap();
        assert!(
            matches!(report.kind, UseKind::GateClosed { why } if why.raw().ends_with("not in force: expired"))
        );
    });
}

#[test]
fn a_person_without_a_grant_is_told_what_to_activate() {
    let site = Site::new();
    site.file("run/elevate/offers.json", r#"{"nobody":["web-ops"]}"#, 0o600);
    let script = format!(
        "setpriv --reuid {UID} --regid {UID} --clear-groups sudo -S -p '' systemctl restart nginx </dev/null"
    );
    // Without a terminal sudo writes what PAM tells to standard output, and what PAM warns of to standard error.
    let said = String::from_utf8_lossy(&site.inside(&script, Stdio::null()).stdout).into_owned();
    let offer = "elevate: no active grant here. You may activate: elevate web-ops   (why: elevate why -- systemctl restart nginx)";
    assert!(said.contains(offer), "{said}");
}

#[test]
fn roots_own_sudo_passes_whatever_state_elevate_is_in() {
    let site = Site::new();
    site.grant(now());
    fs::remove_dir_all(site.at("etc/elevate/trust")).unwrap();
    let output = site.inside("sudo -n /usr/bin/id -u", Stdio::null());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

// THREATS B11, X-g: a missing or broken module blocks nobody, since each line says module_unknown=ignore.
#[test]
fn b11_a_missing_or_broken_module_leaves_ordinary_sudo_alone() {
    for broken in [None, Some("not an ELF file")] {
        let site = Site::new();
        for service in ["sudo", "sudo-i"] {
            let path = site.at(&format!("etc/pam.d/{service}"));
            let gone = site.at("gone.so");
            if let Some(text) = broken {
                fs::write(&gone, text).unwrap();
            }
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, text.replace(so().to_str().unwrap(), gone.to_str().unwrap())).unwrap();
        }
        let (code, _, error) = site.sudo("/usr/bin/true");
        assert_eq!(code, Some(0), "{broken:?}: {error}");
        let output = site.inside("sudo -n /usr/bin/true", Stdio::null());
        assert!(output.status.success(), "{broken:?}");
    }
}

/// A sudo that was stopped after it had read its rules must not use them after their end.
#[test]
fn a_stopped_sudo_does_not_outlive_its_grant() {
    let site = Site::new();
    site.grant(now().after(Span::HOUR));
    let stop = site.at("stop.so");
    build_stopper(&site, &stop);
    let path = site.at("etc/pam.d/sudo");
    let text = fs::read_to_string(&path).unwrap();
    let line = format!("account [default=ignore] {}\naccount [success=ok", stop.display());
    fs::write(&path, text.replacen("account [success=ok", &line, 1)).unwrap();
    // The grant ends when the stopped sudo is five clock ticks old: within two it could also have begun just after the end.
    let script = format!(
        "setpriv --reuid {UID} --regid {UID} --clear-groups sudo -n /usr/bin/id -u & sudo=$!\n\
         until grep -q '^State:.T' /proc/$sudo/status; do :; done\n\
         until [ $(($(cut -d ' ' -f 1 /proc/uptime | tr -d .) - $(cut -d ' ' -f 22 /proc/$sudo/stat))) -gt 5 ]; do :; done\n\
         rm /run/elevate/sudoers.d/u{UID} /run/elevate/grants/u{UID}/*\n\
         kill -CONT $sudo; wait $sudo"
    );
    let output = site.inside(&script, Stdio::null());
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]), "{error}");
    assert!(error.contains("elevate: your rights changed while sudo waited, run it again"), "{error}");
}

/// A module that stops its own process in the account phase, as a person can stop it from outside at that moment.
fn build_stopper(site: &Site, so: &Path) {
    let source = site.at("stop.c");
    fs::write(&source, "#include <signal.h>\nint pam_sm_acct_mgmt(void*h,int f,int c,const char**v){raise(SIGSTOP);return 0;}\n").unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(so).arg(&source).status().unwrap();
    assert!(built.success(), "cc builds the module that stops sudo");
}

/// Runs `pamtester` on the service `elevate` with `stack`, and an agent that accepts `492039` at its descriptor.
fn activation(stack: &str, typed: &str, operations: &str) -> (Output, u32) {
    let site = Site::new();
    site.file("etc/pam.d/elevate", &stack.replace("SO", so().to_str().unwrap()), 0o644);
    site.file("typed", typed, 0o644);
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let typed = typed.to_owned();
    let agent = std::thread::spawn(move || {
        let mut codes = 0u32;
        while let Ok(Some(said)) = frame::read::<FromChild>(&mut ours) {
            let answer = match &said {
                FromChild::Ready => ToChild::Task { prompt: UntrustedText::lossy("Code for nobody") },
                FromChild::Code { code } => {
                    codes = u32::saturating_add(codes, 1);
                    ToChild::Verdict { accepted: code.expose() == "492039", tries: 0, message: None }
                }
                FromChild::Prompt { .. } | FromChild::Notice { .. } | FromChild::Finished { .. } => {
                    panic!("{said:?}")
                }
            };
            let again = matches!(answer, ToChild::Task { .. }) && PAM_FD == 0;
            if frame::write(&mut ours, &answer).is_err()
                || (again && ours.write_all(typed.as_bytes()).is_err())
            {
                break;
            }
        }
        codes
    });
    // pamtester types what is on its standard input, which is the agent's socket itself where PAM_FD is 0.
    let script = format!(
        "if [ $FD != 0 ]; then exec 3<&0 <\"$SITE/typed\"; fi; pamtester elevate nobody {operations}"
    );
    let output = site.inside(&script, Stdio::from(OwnedFd::from(theirs)));
    (output, agent.join().unwrap())
}

#[test]
fn an_accepted_code_passes_the_whole_stack_and_a_wrong_one_does_not() {
    let stack = "auth required SO\naccount required SO\n";
    let (output, codes) = activation(stack, "492039\n", "authenticate acct_mgmt");
    let error =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && codes == 1, "{error}");
    assert!(error.contains("elevate: Code for nobody: "), "{error}");
    let (output, codes) = activation(stack, "000000\n", "authenticate");
    assert!(!output.status.success() && codes == 1);
}

// THREATS B08: with a stack in which everything else succeeds, nothing but an accepted code authenticates.
#[test]
fn b08_no_failure_authenticates_beside_modules_that_permit() {
    let stack = "auth required SO\nauth optional pam_permit.so\naccount required SO\naccount optional pam_permit.so\n";
    assert!(activation(stack, "492039\n", "authenticate acct_mgmt").0.status.success());
    assert!(!activation(stack, "000000\n", "authenticate").0.status.success(), "wrong code");
    assert!(!activation(stack, "\n", "authenticate").0.status.success(), "nothing typed");
    assert!(!activation(stack, "492039\n", "acct_mgmt").0.status.success(), "account without authentication");
    let site = Site::new();
    let so = so();
    for service in ["elevate", "login", "unheard-of"] {
        let stack = stack.replace("SO", so.to_str().unwrap());
        site.file(&format!("etc/pam.d/{service}"), &stack, 0o644);
        let output =
            site.inside(&format!("pamtester {service} nobody authenticate </dev/null"), Stdio::null());
        assert!(!output.status.success(), "{service} without an agent");
    }
}

// THREATS B10: a module that changes PAM_USER between the phases.
#[test]
fn b10_an_account_changed_between_the_phases_is_denied() {
    let place = tempfile::tempdir().unwrap();
    let source = place.path().join("swap.c");
    let swap = place.path().join("swap.so");
    fs::write(&source, "#include <security/pam_modules.h>\nint pam_sm_acct_mgmt(pam_handle_t*h,int f,int c,const char**v){return pam_set_item(h,PAM_USER,\"daemon\");}\n").unwrap();
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&swap)
        .arg(&source)
        .arg("-lpam")
        .status()
        .unwrap();
    assert!(built.success(), "cc and libpam's headers build the module that changes the account");
    let stack = format!("auth required SO\naccount required {}\naccount required SO\n", swap.display());
    let (output, codes) = activation(&stack, "492039\n", "authenticate acct_mgmt");
    assert_eq!(codes, 1);
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
