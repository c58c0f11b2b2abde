//! The embedded sandbox: Linux namespaces and overlay file systems, without a container engine.

mod backend;
mod blanks;
pub(crate) mod cgroup;
pub(crate) mod disk;
pub(crate) mod dockerfile;
pub(crate) mod doctor;
mod environment;
pub(crate) mod etc;
pub(crate) mod hostroot;
pub(crate) mod layers;
pub(crate) mod remove;
mod remover;
mod root;
mod running;
mod sandbox;
pub(crate) mod scratch;
pub(crate) mod skeleton;
mod spawner;
mod stalls;
mod store;
pub(crate) mod toolchains;

pub(crate) use backend::NativeKind;
use root::Root;

/// The name on the command line.
pub(crate) const NAME: &str = "native";
