//! libFuzzer's entry to the target of the same name in `../targets`, with the agent's private reader beside it.
#![no_main]
#![allow(dead_code, unused_imports, unreachable_pub, reason = "the reader's neighbours come along")]

/// The one word that the reader knows of the agent's module of this name, which asks the host's programs.
mod flavour {
    pub(crate) enum Dialect {
        Classic,
        Rs,
    }
}

#[path = "../../agent/src/enforce"]
mod enforce {
    pub(crate) mod reader;
    pub(crate) mod render;
    #[path = "../../../fuzz/targets/sudoers.rs"]
    pub mod target;
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| enforce::target::run(data));
