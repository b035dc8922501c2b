//! How the program is linked: without symbols, and with packed relocations, a megabyte less, where the machine's C library reads them.

use std::env::var_os;
use std::process::Command;

/// What `just bloat` keeps the symbols by.
const STRIP: &str = "CARGO_PROFILE_RELEASE_STRIP";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={STRIP}");
    if without_symbols() {
        println!("cargo::rustc-link-arg-bins=-Wl,--strip-all");
    }
    if for_this_machine() && c_library().is_some_and(|version| version >= (2, 36)) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Whether the profile strips the program: cargo forgets `strip` for a package that has an `opt-level` of its own in it, as this one has.
fn without_symbols() -> bool {
    var_os("PROFILE").is_some_and(|profile| profile == "release")
        && var_os("CARGO_CFG_TARGET_OS").is_some_and(|os| os == "linux")
        && var_os(STRIP).is_none_or(|strip| strip != "false")
}

/// Whether the program is for a machine as this one, with glibc.
fn for_this_machine() -> bool {
    var_os("TARGET") == var_os("HOST")
        && var_os("CARGO_CFG_TARGET_OS").is_some_and(|os| os == "linux")
        && var_os("CARGO_CFG_TARGET_ENV").is_some_and(|env| env == "gnu")
}

/// The version of glibc; before 2.36 it refuses a program whose relocations are packed.
fn c_library() -> Option<(u32, u32)> {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let said = String::from_utf8(said.stdout).ok()?;
    let (major, minor) = said.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}
