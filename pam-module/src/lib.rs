//! pam_elevate.so: the gate in front of managed sudo rules, the offer, the prompt of an activation, the report of a use, logins under a grant.
//!
//! In: what libpam and the kernel say, root's own files. Out: a PAM verdict, and a report to the agent where it lives.
//! Runs as: inside sudo, sshd and `elevate-agent pam-run`, as root, with one thread and nothing on standard output.
//! Spec: docs/architecture.md "On the host"; THREATS B08, B10, B11, B12, X-e to X-h.

#![deny(unsafe_code)]

mod at_use;
mod caller;
mod clock;
mod factor;
#[expect(
    unsafe_code,
    reason = "the C ABI of libpam and one inherited descriptor; nothing else here may use it"
)]
mod ffi;
#[expect(unsafe_code, reason = "an allocator that does not end the process; nothing else here may use it")]
mod ffi_memory;
mod files;
mod gate;
mod hooks;
mod intent;
mod offer;
mod paths;
mod report;
mod ssh;
mod talk;
mod wire;
