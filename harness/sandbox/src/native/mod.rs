//! The embedded sandbox: Linux namespaces and overlay file systems, without a container engine.
#![allow(dead_code, reason = "some modules are not used by the backend yet")]

mod backend;
mod blanks;
mod capabilities;
pub(crate) mod cgroup;
mod changes;
mod channel;
pub(crate) mod disk;
pub(crate) mod dockerfile;
pub(crate) mod doctor;
mod environment;
pub(crate) mod etc;
mod guest;
mod helper;
pub(crate) mod hostroot;
pub(crate) mod layers;
mod process;
pub(crate) mod proxy;
pub(crate) mod remove;
mod remover;
mod root;
mod running;
mod sandbox;
pub(crate) mod scratch;
pub(crate) mod seccomp;
pub(crate) mod skeleton;
mod spawner;
mod stalls;
mod store;
pub(crate) mod toolchains;
mod transfer;

pub(crate) use backend::NativeKind;
use root::Root;

/// The name on the command line.
pub(crate) const NAME: &str = "native";
