//! The binary: everything is in the library, see [`haulout::cli`].

use std::process::ExitCode;

/// Rehearsals and simulated clusters make and free millions of small objects, which the allocator of glibc takes nearly
/// twice as long for; in the static image (deploy/) there would be no other choice.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    haulout::cli::run()
}
