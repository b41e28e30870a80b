//! Everything unsafe of this crate: libpam's entry points, one stored value, the agent's descriptor.
//!
//! In: pointers of libpam. Out: safe calls of [`super::hooks`]. Spec: pam(3), pam_get_data(3), docs/wire.md "PAM child".

use std::os::fd::{BorrowedFd, RawFd};

use pam::constants::PamResultCode;
use pam::module::PamHandle;

use super::hooks::Module;

// The macro defines pam_sm_*; each catches panics, since unwinding into C is undefined.
pam::pam_hooks!(Module);

/// A name under which [`store`] keeps one boxed `String`. Only this module names it, so its type is always the same.
const STORED: &str = "pam_elevate_v1";

/// Keeps `text` until libpam ends the transaction; replaces what was kept before.
pub(crate) fn store(handle: &mut PamHandle, text: String) -> Result<(), PamResultCode> {
    handle.set_data(STORED, Box::new(text))
}

/// What [`store`] kept in this transaction.
pub(crate) fn stored(handle: &PamHandle) -> Option<String> {
    // SAFETY: the only writer of this name is `store`, which boxes a `String`; libpam keeps the box until pam_end(3) or until
    // `store` replaces it, and the value is copied before this function returns.
    let kept: Result<&String, PamResultCode> = unsafe { handle.get_data(STORED) };
    kept.ok().cloned()
}

/// A descriptor that the starter of this process left open.
pub(crate) fn inherited(number: RawFd) -> Option<BorrowedFd<'static>> {
    if number < 0 {
        return None;
    }
    // SAFETY: the number is not -1, the only value that is not allowed. Whether it is open, and what it is, is asked of the
    // kernel with each use; nobody in this process closes it, since only the agent's child runs this service.
    Some(unsafe { BorrowedFd::borrow_raw(number) })
}
