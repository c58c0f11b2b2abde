//! Places to run commands in.
//!
//! [`Backend`] makes [`Sandbox`]es; a sandbox is a [`Place`] with a life cycle. Each backend is one file or folder
//! beside this one and one line in [`BACKENDS`]; all of them pass the suite in [`conformance`].
//! This crate never prints and never decides what a result means.

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
compile_error!("harness runs on Linux, on x86_64 and aarch64: its sandboxes are made of Linux namespaces");

pub mod backend;
mod collect;
#[cfg(feature = "testing")]
pub mod conformance;
pub mod docker;
pub mod error;
pub mod exec;
#[cfg(feature = "testing")]
pub mod fault;
mod link;
pub mod memory;
mod native;
pub mod place;
mod proxy;

pub use backend::{
    Backend, BackendKind, BackendOptions, Caps, Change, ChangeKind, EnvironmentPlan, EnvironmentRequest,
    FileType, Image, Labels, Probe, ProbeStatus, Progress, ReadOnlyMount, ReapFilter, Reaped, RemovedImages,
    RootFs, Sandbox, SandboxSpec, SandboxUsage, Snapshot, SnapshotHandle, Unsupported, ViewSpec,
};
pub use error::SandboxError;
pub use exec::{
    Captured, ExecResult, ExecSpec, Exit, OutputSpec, Process, ProcessControl, ProcessSpec, PtySize, Stdin,
};
pub use place::{GetOptions, Place, PutOptions, Source};

/// All backends, in the order in which `doctor` shows them.
pub const BACKENDS: &[&dyn BackendKind] = &[&native::NativeKind, &docker::DockerKind, &memory::Memory];
