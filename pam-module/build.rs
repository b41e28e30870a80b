//! Puts the unwinder into the module: libgcc_s.so, which sudo would load for it alone, costs more than everything else at its start.
//!
//! In: nothing. Out: one line for the linker. Where there is no libgcc_eh.a the linker says so. Spec: docs/decisions/0028.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Whole and before the standard library's own wish for libgcc_s, which then has nothing to give and is left out.
    println!("cargo:rustc-link-lib=static:+whole-archive,-bundle=gcc_eh");
}
