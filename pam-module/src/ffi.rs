//! Everything unsafe of this crate: libpam's entry points, its environment, one stored value, the agent's descriptor.
//!
//! In: pointers of libpam. Out: safe calls of [`super::hooks`]. Spec: pam(3), pam_get_data(3), pam_getenv(3), docs/wire.md "PAM child".

use std::ffi::{CStr, c_char};
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

unsafe extern "C" {
    /// pam_getenv(3).
    fn pam_getenv(handle: *const PamHandle, name: *const c_char) -> *const c_char;
}

/// A value of PAM's own environment, which is the service's and not the caller's.
pub(crate) fn environment(handle: &PamHandle, name: &CStr) -> Option<Vec<u8>> {
    // SAFETY: both pointers are of live objects; libpam reads them during the call only.
    let value = unsafe { pam_getenv(handle, name.as_ptr()) };
    if value.is_null() {
        return None;
    }
    // SAFETY: what is not null is a string of libpam's that lasts until its environment changes, which nobody does before this
    // function returns; it is copied here.
    Some(unsafe { CStr::from_ptr(value) }.to_bytes().to_vec())
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
