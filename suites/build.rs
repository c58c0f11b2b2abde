//! Packs the folder of each bundled suite, and what the scripted model says in it, into archives for `include_bytes!`.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

#[path = "src/pack.rs"]
mod pack;

fn main() -> io::Result<()> {
    for watched in ["catalog", "conversations", "build.rs", "src/pack.rs"] {
        println!("cargo::rerun-if-changed={watched}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?);
    for entry in fs::read_dir("catalog")? {
        let suite = entry?.path();
        if suite.extension().is_some_and(|extension| extension == "toml") {
            let name = suite.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            fs::write(out.join(format!("{name}.tar.gz")), pack::pack(&Path::new("catalog").join(&name))?)?;
            let said = pack::pack(&Path::new("conversations").join(&name))?;
            fs::write(out.join(format!("{name}.conversations.tar.gz")), said)?;
        }
    }
    Ok(())
}
