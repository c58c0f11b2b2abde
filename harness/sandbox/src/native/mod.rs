//! The embedded sandbox: Linux namespaces and overlay file systems, without a container engine.
#![allow(dead_code, reason = "the modules are assembled by the backend, which is not merged yet")]

pub(crate) mod cgroup;
pub(crate) mod disk;
pub(crate) mod dockerfile;
pub(crate) mod doctor;
pub(crate) mod etc;
pub(crate) mod hostroot;
pub(crate) mod layers;
pub(crate) mod proxy;
pub(crate) mod remove;
pub(crate) mod scratch;
pub(crate) mod seccomp;
pub(crate) mod skeleton;
pub(crate) mod toolchains;
