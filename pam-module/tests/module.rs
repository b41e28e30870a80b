//! The built pam_elevate.so in real sudo and in pamtester, each in a private mount namespace with its own /etc and /run.
//!
//! In: the .so that cargo built. Out: pass or fail. Runs as: root (mounts); the real /etc is not touched.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use elevate_protocol::frame;
use elevate_protocol::id::ActivationId;
use elevate_protocol::message::agent::UseKind;
use elevate_protocol::message::pam::{FromChild, PAM_FD, ToChild};
use elevate_protocol::message::person::{Outcome, Reply, Say};
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Span;

mod site;

use site::{Site, UID, now, so};

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
            | Say::Leave
            | Say::AtUse(_)
            | Say::Ssh(_)
            | Say::SshDenied(_) => {
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

// THREATS B14: what the caller's environment says reaches the module in sudo, and changes nothing.
#[test]
fn b14_the_callers_environment_opens_no_gate_and_shuts_none() {
    let site = Site::new();
    let hostile = "env TZ=UTC+12 LANG=xx_XX.x PATH=$SITE/own:/usr/bin:/usr/sbin IFS=/ LD_PRELOAD=$SITE/none.so LD_LIBRARY_PATH=$SITE \
                   GCONV_PATH=$SITE RUST_LOG=trace RUST_BACKTRACE=full ELEVATE_SOCKET=$SITE/own/socket SSL_KEYLOGFILE=$SITE/run/keys HOME=$SITE";
    let script =
        format!("{hostile} setpriv --reuid {UID} --regid {UID} --clear-groups sudo -n /usr/bin/id -u");
    site.grant(now().after(Span::HOUR));
    let output = site.inside(&script, Stdio::null());
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"0\n"[..]), "{error}");
    site.grant(now().before(Span(1)));
    let output = site.inside(&script, Stdio::null());
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]), "{error}");
    assert!(error.contains("elevate: grant ended") && !error.contains("backtrace"), "{error}");
    assert!(!site.at("run/keys").exists());
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
