//! Builds the guest program for the same platform, statically linked, so that it runs in any root file system, and leaves
//! it where `include_bytes!` finds it. A cargo of its own with a target folder of its own: the outer build's is locked.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let target = var("TARGET");
    let linux = var("CARGO_CFG_TARGET_OS") == "linux";
    let arch = var("CARGO_CFG_TARGET_ARCH");
    // On other platforms the crate itself says what it is for.
    if !linux || !["x86_64", "aarch64"].contains(&arch.as_str()) {
        return;
    }
    let out = PathBuf::from(var("OUT_DIR"));
    let guest = Path::new(&var("CARGO_MANIFEST_DIR")).join("../guest");
    for watched in ["src", "Cargo.toml"] {
        println!("cargo::rerun-if-changed={}", guest.join(watched).display());
    }
    println!("cargo::rerun-if-changed=build.rs");
    let folder = out.join("guest");
    let status = command(&target, &guest, &folder)
        .status()
        .unwrap_or_else(|error| panic!("cannot run cargo to build the guest program: {error}"));
    assert!(
        status.success(),
        "the guest program could not be built for {target}: it is linked statically, which needs the C library's static \
         archive (Debian: libc6-dev; Fedora: glibc-static; musl targets bring their own)"
    );
    let built = folder.join(&target).join("release/harness-guest");
    std::fs::copy(&built, out.join("harness-guest"))
        .unwrap_or_else(|error| panic!("cannot copy {}: {error}", built.display()));
}

fn command(target: &str, guest: &Path, folder: &Path) -> Command {
    let mut command = Command::new(var("CARGO"));
    command
        .args(["build", "--quiet", "--release", "--locked", "--offline", "--bin", "harness-guest"])
        .arg("--target")
        .arg(target)
        .arg("--target-dir")
        .arg(folder)
        .arg("--manifest-path")
        .arg(guest.join("Cargo.toml"))
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "s")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .env("CARGO_PROFILE_RELEASE_LTO", "true")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false");
    // What the outer build was told holds for the outer build: a lint driver or coverage flags have no place in here.
    for name in [
        "RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "CARGO_BUILD_RUSTC_WRAPPER",
        "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
        "CARGO_BUILD_TARGET",
        "CARGO_BUILD_TARGET_DIR",
        "CARGO_TARGET_DIR",
        "CARGO_BUILD_RUSTFLAGS",
    ] {
        command.env_remove(name);
    }
    command
}

fn var(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name} for build scripts"))
}
