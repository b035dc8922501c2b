//! Packs the description of the service, which the program carries.

use std::env::var_os;
use std::fs::File;
use std::io::{self, Error};
use std::path::Path;

use flate2::Compression;
use flate2::write::ZlibEncoder;

const DESCRIPTION: &str = "../../docs/openapi.json";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={DESCRIPTION}");
    let folder = var_os("OUT_DIR").ok_or_else(|| Error::other("cargo names no OUT_DIR"))?;
    let packed = File::create(Path::new(&folder).join("openapi.json.zz"))?;
    let mut packed = ZlibEncoder::new(packed, Compression::best());
    io::copy(&mut File::open(DESCRIPTION)?, &mut packed)?;
    packed.finish()?;
    Ok(())
}
