//! libFuzzer's entry to the target of the same name in `../targets`.
#![no_main]

#[path = "../targets/ssh_login.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
