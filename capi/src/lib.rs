//! The C ABI of bevfusion-rt (`include/bevfusion.h`).
//!
//! Today it carries the version calls that a build needs to find and check the library; detection is
//! added on top without changing them.

use std::ffi::{CStr, c_char};

/// ABI generation: grows when a struct or a function changes its meaning.
pub const BEV_ABI_VERSION: u32 = 1;

const VERSION: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(text) => text,
        Err(_) => c"unknown",
    };

/// The ABI generation of the library that was loaded; compare it with `BEV_ABI_VERSION` of the header.
///
/// Any thread, any time.
#[unsafe(no_mangle)]
pub extern "C" fn bev_abi_version() -> u32 {
    BEV_ABI_VERSION
}

/// The library's version as a NUL-terminated string that lives as long as the library.
///
/// Any thread, any time.
#[unsafe(no_mangle)]
pub extern "C" fn bev_version() -> *const c_char {
    VERSION.as_ptr()
}

#[cfg(test)]
mod tests {
    use super::{VERSION, bev_abi_version};

    #[test]
    fn the_version_is_the_package_version() {
        assert_eq!(VERSION.to_str(), Ok(env!("CARGO_PKG_VERSION")));
        assert_eq!(bev_abi_version(), 1);
    }
}
