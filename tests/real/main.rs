//! Tests against parts that nobody here wrote: `make test` gets them and says where they are.

mod page;
#[path = "../it/page_fleet.rs"]
mod page_fleet;

/// Where a real part is, as `scripts/real-parts.sh` tells it.
pub fn part(variable: &str) -> std::ffi::OsString {
    #[expect(clippy::disallowed_methods, reason = "where a test's real part is; no setting of the program")]
    let path = std::env::var_os(variable);
    path.unwrap_or_else(|| panic!("{variable} is not set: run `make test`, which gets the real parts"))
}
