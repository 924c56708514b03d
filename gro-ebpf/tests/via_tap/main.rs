//! The userspace engine between an interface and its stack, on live traffic in private network namespaces.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod ends;
mod hosts;
mod pair;
mod tagged;
mod traffic;
