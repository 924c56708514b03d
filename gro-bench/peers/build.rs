//! Builds the shim over DPDK where DPDK is, and says why not where it is not.

use std::process::Command;

/// What the shim calls. `pkg-config --libs` names every library of DPDK there is.
const LIBRARIES: [&str; 4] = ["rte_eal", "rte_mbuf", "rte_net", "rte_gro"];

fn main() {
    println!("cargo::rerun-if-changed=src/dpdk/shim.c");
    println!("cargo::rerun-if-env-changed=PKG_CONFIG_PATH");
    // Appears when the package is installed after a first build.
    println!("cargo::rerun-if-changed=/usr/include/dpdk");
    println!("cargo::rustc-env=PEERS_RUSTC={}", rustc());
    match shim() {
        Ok(()) => {
            for library in LIBRARIES {
                println!("cargo::rustc-link-lib=dylib={library}");
            }
            println!("cargo::rustc-cfg=dpdk");
            println!("cargo::rustc-env=PEERS_NO_DPDK=");
        }
        Err(why) => println!("cargo::rustc-env=PEERS_NO_DPDK={}", why.lines().next().unwrap_or_default()),
    }
}

fn shim() -> Result<(), String> {
    let mut build = cc::Build::new();
    build.file("src/dpdk/shim.c").opt_level(3).warnings(true);
    for flag in dpdk_flags()?.split_whitespace() {
        build.flag(flag);
    }
    build.try_compile("gro_dpdk_shim").map_err(|error| format!("its shim does not compile: {error}"))
}

/// The compiler's flags for DPDK's headers.
fn dpdk_flags() -> Result<String, String> {
    let output = Command::new("pkg-config").args(["--cflags", "libdpdk"]).output();
    let output = output.map_err(|error| {
        format!("no pkg-config ({error}): install the Debian packages pkg-config and libdpdk-dev")
    })?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err("pkg-config knows no libdpdk: install the Debian package libdpdk-dev".to_owned())
    }
}

fn rustc() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_else(|_| "unknown".to_owned())
}
