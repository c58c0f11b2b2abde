//! A place inside a sandbox: the sandbox itself or a view into it, told apart by a number.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use super::Live;
use super::process::{self, Surroundings};
use super::transfer;
use crate::{GetOptions, Place, Process, ProcessSpec, PutOptions, SandboxError, Source};

/// It keeps what runs there from ending, but not the sandbox from being destroyed.
pub(crate) struct Inside {
    pub(crate) live: Arc<dyn Live>,
    pub(crate) around: Surroundings,
}

#[async_trait]
impl Place for Inside {
    async fn spawn(&self, spec: ProcessSpec) -> Result<Process, SandboxError> {
        process::spawn(&self.live, &self.around, spec).await
    }

    async fn put(&self, at: &str, source: Source, options: PutOptions) -> Result<(), SandboxError> {
        transfer::put(self.live.guest(), self.around.view, at, source, options).await
    }

    async fn get(&self, from: &str, to: &Path, options: GetOptions) -> Result<(), SandboxError> {
        transfer::get(self.live.guest(), self.around.view, from, to, options).await
    }

    async fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, SandboxError> {
        transfer::read(self.live.guest(), self.around.view, path, limit).await
    }
}
