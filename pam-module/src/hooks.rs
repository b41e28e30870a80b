//! What each PAM phase does, by service.
//!
//! In: libpam's items. Out: a PAM code. Table of codes: docs/architecture.md "On the host". `auth` never ignores and succeeds only
//! for an accepted verdict (X-h); `account` ignores only where there is positively no managed rule; a session fails
//! only in sshd, for a certificate of ours.

use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use elevate_protocol::deadlines::Overdue;
use elevate_protocol::message::agent::{FactorUse, UseKind, UseReport};
use elevate_protocol::message::pam::{PAM_FD, PAM_SERVICE};
use elevate_protocol::secret::Secret;
use elevate_protocol::text::UntrustedText;
use pam::constants::{PAM_ERROR_MSG, PAM_PROMPT_ECHO_OFF, PAM_TEXT_INFO, PamFlag, PamResultCode};
use pam::conv::Conv;
use pam::items::{RHost, RUser, Service, Tty, User};
use pam::module::{PamHandle, PamHooks};

use crate::at_use::{self, Denied};
use crate::caller::{self, Caller};
use crate::factor::{self, Failed};
use crate::gate::{self, AtUse, Closed, Moment, Rules, Verdict, Written};
use crate::intent::{Intent, intent};
use crate::offer;
use crate::paths::Paths;
use crate::report::{self, Told};
use crate::ssh;
use crate::talk::{Conversation, Line};
use crate::{clock, ffi, ffi_memory};

/// The module, as libpam calls it.
pub(crate) struct Module;

/// Who asks for our word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asker {
    /// `sudo` and `sudo-i`.
    Sudo,
    /// An activation.
    Activation,
    /// `sshd`: connections only.
    Sshd,
    /// A service that this module is not for.
    Other,
}

/// What the gate leaves for the session phase of the same sudo process, before the uid.
const PASSED: &str = "passed:";
/// The same where the use is reported already.
const TOLD: &str = "told";
/// What an accepted verdict leaves for the later phases, before the account's name.
const FACTOR: &str = "factor:";
/// What a connection that the agent knows leaves for its end.
const CONNECTION: &str = "connection";

impl PamHooks for Module {
    fn sm_authenticate(handle: &mut PamHandle, _args: Vec<&CStr>, _flags: PamFlag) -> PamResultCode {
        guarded(PamResultCode::PAM_AUTH_ERR, || match asker(handle) {
            Asker::Sudo => offer(handle),
            Asker::Activation => activation(handle),
            Asker::Sshd | Asker::Other => PamResultCode::PAM_AUTHINFO_UNAVAIL,
        })
    }

    fn sm_setcred(handle: &mut PamHandle, _args: Vec<&CStr>, _flags: PamFlag) -> PamResultCode {
        // This module sets no credentials. In the activation's stack it may stand alone, and a stack in which everybody
        // ignores has failed; so it says success there, for the one account that has just given its code.
        guarded(PamResultCode::PAM_CRED_ERR, || match asker(handle) {
            Asker::Sudo | Asker::Sshd | Asker::Other => PamResultCode::PAM_IGNORE,
            Asker::Activation if has_given_code(handle) => PamResultCode::PAM_SUCCESS,
            Asker::Activation => PamResultCode::PAM_CRED_UNAVAIL,
        })
    }

    fn acct_mgmt(handle: &mut PamHandle, _args: Vec<&CStr>, _flags: PamFlag) -> PamResultCode {
        guarded(PamResultCode::PAM_PERM_DENIED, || match asker(handle) {
            Asker::Sudo => account(handle),
            Asker::Activation if has_given_code(handle) => PamResultCode::PAM_SUCCESS,
            Asker::Activation => PamResultCode::PAM_PERM_DENIED,
            Asker::Sshd | Asker::Other => PamResultCode::PAM_IGNORE,
        })
    }

    fn sm_open_session(handle: &mut PamHandle, _args: Vec<&CStr>, _flags: PamFlag) -> PamResultCode {
        let asker = asker(handle);
        let failed =
            if asker == Asker::Sshd { PamResultCode::PAM_SESSION_ERR } else { PamResultCode::PAM_IGNORE };
        guarded(failed, || match asker {
            Asker::Sudo => {
                session(handle);
                PamResultCode::PAM_IGNORE
            }
            Asker::Sshd => connection(handle),
            Asker::Activation | Asker::Other => PamResultCode::PAM_IGNORE,
        })
    }

    fn sm_close_session(handle: &mut PamHandle, _args: Vec<&CStr>, _flags: PamFlag) -> PamResultCode {
        guarded(PamResultCode::PAM_IGNORE, || {
            if asker(handle) == Asker::Sshd {
                connection_over(handle);
            }
            PamResultCode::PAM_IGNORE
        })
    }

    fn sm_chauthtok(_handle: &mut PamHandle, _args: Vec<&CStr>, _flags: PamFlag) -> PamResultCode {
        PamResultCode::PAM_AUTHTOK_ERR
    }
}

/// Runs one phase; a panic in it becomes `failed` and is not written to the person's terminal, and nothing succeeds on the last memory.
fn guarded(failed: PamResultCode, phase: impl FnOnce() -> PamResultCode) -> PamResultCode {
    static SILENT: Once = Once::new();
    SILENT.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    match catch_unwind(AssertUnwindSafe(phase)) {
        Ok(result) if result != PamResultCode::PAM_SUCCESS || !ffi_memory::was_short() => result,
        Ok(_) | Err(_) => failed,
    }
}

fn text(item: Option<&CStr>) -> Option<String> {
    item.and_then(|text| text.to_str().ok()).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn user(handle: &PamHandle) -> Option<String> {
    text(handle.get_item::<User<'_>>().ok().flatten().map(|item| item.0))
}

fn service(handle: &PamHandle) -> Option<String> {
    text(handle.get_item::<Service<'_>>().ok().flatten().map(|item| item.0))
}

fn asker(handle: &PamHandle) -> Asker {
    match service(handle).as_deref() {
        Some("sudo" | "sudo-i") => Asker::Sudo,
        Some("sshd") => Asker::Sshd,
        Some(PAM_SERVICE) => Asker::Activation,
        Some(_) | None => Asker::Other,
    }
}

/// Auth in sudo: says what may be activated; is never an authentication.
fn offer(handle: &PamHandle) -> PamResultCode {
    let login =
        text(handle.get_item::<RUser<'_>>().ok().flatten().map(|item| item.0)).or_else(|| user(handle));
    let caller = Caller::of_this_process();
    if let Some(line) = login.and_then(|login| offer::line(&Paths::installed(), &caller, &login)) {
        Person(handle).tell(&line);
    }
    PamResultCode::PAM_AUTHINFO_UNAVAIL
}

/// Auth of an activation: the code, for one account from beginning to end (threat B10).
fn activation(handle: &mut PamHandle) -> PamResultCode {
    let Some(before) = user(handle) else { return PamResultCode::PAM_USER_UNKNOWN };
    let asked = factor::ask(ffi::inherited(PAM_FD), &Person(handle));
    if user(handle).as_ref() != Some(&before) {
        Person(handle).warn(&Line::new("the account was changed during the prompt, refused"));
        return PamResultCode::PAM_AUTH_ERR;
    }
    match asked {
        Ok(()) => match ffi::store(handle, format!("{FACTOR}{before}")) {
            Ok(()) => PamResultCode::PAM_SUCCESS,
            Err(_) => PamResultCode::PAM_AUTH_ERR,
        },
        Err(Failed::Agent) => PamResultCode::PAM_AUTHINFO_UNAVAIL,
        Err(Failed::NoCode) => PamResultCode::PAM_AUTH_ERR,
        Err(Failed::Tries) => PamResultCode::PAM_MAXTRIES,
    }
}

/// Whether the account of this transaction is still the one whose code was accepted in it (threat B10).
fn has_given_code(handle: &PamHandle) -> bool {
    let given = ffi::stored(handle);
    let given = given.as_deref().and_then(|kept| kept.strip_prefix(FACTOR));
    given.is_some() && given == user(handle).as_deref()
}

/// Account in sudo: the gate, and the second factor where a grant asks for it at each use.
fn account(handle: &mut PamHandle) -> PamResultCode {
    let before = user(handle);
    let paths = Paths::installed();
    let caller = Caller::of_this_process();
    let mut verdict = judge(&paths, &caller);
    if let Verdict::Open(Rules { at_use: AtUse::Factor, .. }) = verdict
        && intent(&caller.argv) != Intent::Look
    {
        if let Err(denied) = prove(handle, &paths, &caller) {
            return deny(handle, &paths, caller, &denied);
        }
        // A person takes their time to type: what ended meanwhile has ended.
        verdict = judge(&paths, &Caller::of_this_process());
    }
    let changed = user(handle) != before;
    match verdict {
        Verdict::Unmanaged => PamResultCode::PAM_IGNORE,
        Verdict::Open(_) if changed || before.is_none() => PamResultCode::PAM_PERM_DENIED,
        Verdict::Open(rules) => {
            pass(handle, &paths, caller, rules);
            PamResultCode::PAM_SUCCESS
        }
        Verdict::Moved => {
            Person(handle).warn(&Line::new("your rights changed while sudo waited, run it again"));
            PamResultCode::PAM_PERM_DENIED
        }
        Verdict::Closed(why) => {
            close(handle, &paths, caller, &why);
            PamResultCode::PAM_PERM_DENIED
        }
    }
}

fn judge(paths: &Paths, caller: &Caller) -> Verdict {
    let began = clock::since_1970().saturating_sub(caller.age);
    let boot = clock::since_boot();
    gate::decide(paths, Moment { uid: caller.uid, now: clock::now(), began, age: caller.age, boot })
}

/// The second factor for this use: given lately at this terminal, or now.
fn prove(handle: &PamHandle, paths: &Paths, caller: &Caller) -> Result<(), Denied> {
    let seat = caller::seat().ok_or(Denied::NoTerminal)?;
    let tty = handle.get_item::<Tty<'_>>().ok().flatten();
    let asked = FactorUse {
        uid: caller.uid,
        seat,
        terminal: tty.map(|item| UntrustedText::lossy(&item.0.to_string_lossy())),
        argv: caller.argv.clone(),
    };
    at_use::ask(&paths.socket, asked, &Person(handle))
}

fn deny(handle: &PamHandle, paths: &Paths, caller: Caller, denied: &Denied) -> PamResultCode {
    Person(handle).warn(&Line::new(&denied.to_string()));
    let kind = UseKind::NotProven { why: UntrustedText::lossy(&denied.to_string()) };
    match report::tell(&paths.socket, seen(handle, caller, kind, None)) {
        // It is refused either way.
        Told::Taken | Told::NotTaken => {}
    }
    PamResultCode::PAM_PERM_DENIED
}

/// Leaves word for the session phase. sudo-rs opens no session for sudoedit, and comes here only with what it allows: there an
/// edit is reported from here.
fn pass(handle: &mut PamHandle, paths: &Paths, caller: Caller, rules: Rules) {
    let now = rules.written == Written::ForSudoRs && intent(&caller.argv) == Intent::Edit;
    // Only the report depends on this, and the drop-in's presence is asked in the session phase as well.
    drop(ffi::store(handle, if now { TOLD.to_owned() } else { format!("{PASSED}{}", caller.uid) }));
    if now {
        match report::tell(&paths.socket, seen(handle, caller, UseKind::Start, None)) {
            // A use is never refused for the sake of a report (THREATS §6.2).
            Told::Taken | Told::NotTaken => {}
        }
    }
}

fn close(handle: &PamHandle, paths: &Paths, caller: Caller, why: &Closed) {
    let line = if matches!(why, Closed::Overdue { source: Overdue::NoContact(_), .. }) {
        "no contact with the daemon for longer than the lease, grant ended, run it again"
    } else {
        "grant ended, run it again"
    };
    let why = UntrustedText::lossy(&report::chain(why));
    Person(handle).warn(&Line::new(line));
    let kind = UseKind::GateClosed { why };
    match report::tell(&paths.socket, seen(handle, caller, kind, None)) {
        // A dead agent finds the drop-in gone when it starts, and says so then.
        Told::Taken | Told::NotTaken => {}
    }
}

/// Session in sudo: the use is reported, whatever comes of the report.
fn session(handle: &PamHandle) {
    let mut caller = Caller::of_this_process();
    let paths = Paths::installed();
    let left = ffi::stored(handle);
    // The account that passed the gate: for sudoedit the classic sudo has become root altogether by now (getuid(2) is 0).
    let passed = left.as_deref().and_then(|left| left.strip_prefix(PASSED)).and_then(|uid| uid.parse().ok());
    caller.uid = passed.unwrap_or(caller.uid);
    let passed = passed.is_some();
    if left.as_deref() == Some(TOLD) || caller.uid == 0 || !(passed || gate::is_managed(&paths, caller.uid)) {
        return;
    }
    // In this phase sudo has set PAM_USER to the account that the command runs as.
    let run_as = user(handle).map(|name| UntrustedText::lossy(&name));
    match report::tell(&paths.socket, seen(handle, caller, UseKind::Start, run_as)) {
        // A session is never refused for the sake of a report (THREATS §6.2).
        Told::Taken | Told::NotTaken => {}
    }
}

/// Session in sshd: whoever came by a certificate of ours goes on only with the agent's word; nobody else waits for it.
fn connection(handle: &mut PamHandle) -> PamResultCode {
    let info = ffi::environment(handle, ssh::INFO);
    let asked = match ssh::asked(info.as_deref(), login(handle), from(handle)) {
        Some(asked) => asked,
        None => return PamResultCode::PAM_IGNORE,
    };
    match ssh::open(&Paths::installed().socket, asked) {
        // Only the end of a short connection's remains depends on this.
        Ok(()) => match ffi::store(handle, CONNECTION.to_owned()) {
            Ok(()) | Err(_) => PamResultCode::PAM_SUCCESS,
        },
        Err(refused) => {
            Person(handle).warn(&Line::new(&refused.to_string()));
            PamResultCode::PAM_SESSION_ERR
        }
    }
}

/// The end of such a connection: the agent looks now what belongs to it.
fn connection_over(handle: &PamHandle) {
    if ffi::stored(handle).as_deref() == Some(CONNECTION) {
        ssh::closing(&Paths::installed().socket, login(handle));
    }
}

fn login(handle: &PamHandle) -> UntrustedText {
    UntrustedText::lossy(&user(handle).unwrap_or_default())
}

fn from(handle: &PamHandle) -> Option<UntrustedText> {
    let item = handle.get_item::<RHost<'_>>().ok().flatten();
    item.map(|item| UntrustedText::lossy(&item.0.to_string_lossy()))
}

fn seen(handle: &PamHandle, caller: Caller, kind: UseKind, run_as: Option<UntrustedText>) -> UseReport {
    let tty = handle.get_item::<Tty<'_>>().ok().flatten();
    UseReport {
        uid: caller.uid,
        kind,
        service: UntrustedText::lossy(&service(handle).unwrap_or_default()),
        run_as,
        argv: caller.argv,
        directory: caller.directory,
        terminal: tty.map(|item| UntrustedText::lossy(&item.0.to_string_lossy())),
        pid: caller.pid,
    }
}

/// The conversation function of whoever runs this stack.
struct Person<'h>(&'h PamHandle);

impl Person<'_> {
    fn send(&self, style: i32, line: &Line) -> Option<pam::secret::SecretBytes> {
        let conversation = self.0.get_item::<Conv<'_>>().ok().flatten()?;
        conversation.send(style, line.as_str()).ok().flatten()
    }
}

impl Conversation for Person<'_> {
    fn tell(&self, line: &Line) {
        drop(self.send(PAM_TEXT_INFO, line));
    }

    fn warn(&self, line: &Line) {
        drop(self.send(PAM_ERROR_MSG, line));
    }

    fn ask(&self, line: &Line) -> Option<Secret> {
        let typed = self.send(PAM_PROMPT_ECHO_OFF, line)?;
        let text = typed.as_str().ok()?.trim_end_matches(['\r', '\n']);
        Some(Secret::new(text.to_owned()))
    }
}
