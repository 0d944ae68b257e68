//! The binary: everything but the allocator's setting is in the library.

fn main() -> std::process::ExitCode {
    limit_heaps();
    cachetscope::cli::main()
}

/// glibc gives threads heaps of their own, up to eight for each core, and what is freed in one
/// serves no other: with as many as the runtime has workers, a thousand deployments take a fifth
/// less memory, and no more time.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the one call into libc; there is no safe binding")]
fn limit_heaps() {
    // SAFETY: it sets a number inside the allocator, and no other thread runs yet.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 2) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn limit_heaps() {}
