//! One build by an engine: the archive goes in, what the builder says comes out, and the image is there or the reason why not.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bollard::body_try_stream;
use bollard::errors::Error;
use bollard::models::{BuildInfo, BuildInfoAux};
use bollard::query_parameters::{BuildImageOptionsBuilder, BuilderVersion};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use harness_core::Digest;
use tokio::sync::mpsc;

use super::credentials::Credentials;
use super::fault;
use super::log::Log;
use super::recipe::BuildRecipe;
use crate::docker::client::{Builder, Client, EngineKind};
use crate::{Progress, SandboxError};

/// Pieces of the archive that may wait for the engine.
const PIECES: usize = 16;
const PIECE_BYTES: usize = 64 << 10;

/// What one build is made with.
pub(crate) struct BuildCall<'a> {
    pub(crate) client: &'a Client,
    pub(crate) recipe: &'a BuildRecipe,
    /// The name that the image gets.
    pub(crate) name: &'a str,
    pub(crate) labels: HashMap<String, String>,
    pub(crate) credentials: &'a Credentials,
    pub(crate) timeout: Duration,
    pub(crate) progress: &'a Progress,
}

impl BuildCall<'_> {
    /// Builds. That the call came to its end is no proof of an image: the caller looks for it.
    ///
    /// # Errors
    /// [`SandboxError::Environment`] with the end of the log where the description is at fault, its time included.
    pub(crate) async fn run(&self, log: &mut Log) -> Result<(), SandboxError> {
        let about = &self.recipe.about;
        let both = async {
            let first = self.once(&self.recipe.dockerfile, log).await;
            let plain = match &first {
                Err(error) => without_frontend(&self.recipe.dockerfile, error),
                Ok(()) => None,
            };
            let Some(plain) = plain else { return first };
            log.line(
                "the frontend that the Dockerfile's first line names cannot be had: the engine's own is used",
            );
            self.once(&plain, log).await
        };
        match tokio::time::timeout(self.timeout, both).await {
            Ok(result) => result,
            Err(_) => {
                let seconds = self.timeout.as_secs_f64();
                Err(SandboxError::Environment {
                    message: format!("{about}: the environment was not built within its {seconds} s"),
                    log: log.tail(),
                })
            }
        }
    }

    /// Dropping this ends the connection, and with it the build.
    async fn once(&self, dockerfile: &[u8], log: &mut Log) -> Result<(), SandboxError> {
        let recipe = self.recipe;
        let wanted = super::context::Wanted { bytes: dockerfile, ..recipe.wanted() };
        // Only the first builder leaves out what `.dockerignore` says of an archive: a Dockerfile that is no part of the context
        // would be copied into the image by the other.
        let foreign = Some(recipe.context.dockerfile_name(wanted)) != recipe.place;
        let kit = self.client.engine().builder == Builder::BuildKit && (!foreign || recipe.needs_buildkit());
        let mut options = BuildImageOptionsBuilder::default()
            .dockerfile(&recipe.context.dockerfile_name(wanted).to_string_lossy())
            .t(self.name)
            .rm(true)
            .forcerm(true)
            .labels(&self.labels)
            .buildargs(&recipe.args.clone().into_iter().collect::<HashMap<_, _>>());
        if let Some(target) = &recipe.target {
            options = options.target(target);
        }
        if self.client.engine().kind == EngineKind::Podman && recipe.has_arguments() {
            // It takes a step that it remembers for the same step with another argument (seen in 4.3).
            options = options.nocache(true);
        }
        if kit {
            options = options.version(BuilderVersion::BuilderBuildKit).session(&session());
        }
        let (pieces, mut archiver) = archive(recipe, dockerfile.to_vec());
        let credentials = self.credentials.for_builds();
        let mut said =
            self.client.long().build_image(options.build(), credentials, Some(body_try_stream(pieces)));
        let mut shown = Shown::default();
        let result = loop {
            match said.next().await {
                None => break Ok(()),
                Some(Ok(info)) => shown.note(info, log, self.progress),
                Some(Err(error)) => break Err(error),
            }
        };
        drop(said);
        let Err(error) = result else { return Ok(()) };
        // An archive that could not be written ends the call with words about a connection.
        if let Ok(Ok(Err(why))) = tokio::time::timeout(Duration::from_secs(1), &mut archiver).await
            && why.kind() != io::ErrorKind::BrokenPipe
        {
            return Err(SandboxError::host(format!("read the files of {}", recipe.about), why));
        }
        log.line(&crate::docker::client::plain(&error));
        Err(fault::of_build(&recipe.about, &error, log.tail()))
    }

    /// What it means that a build ended without a word and there is no image.
    pub(crate) fn without_image(&self, log: &Log) -> SandboxError {
        let about = &self.recipe.about;
        // Podman's reasons are not where Docker has them, and are in the log only.
        if self.client.engine().kind == EngineKind::Podman {
            let error = Error::DockerStreamError { error: "the build failed".to_owned() };
            return fault::of_build(about, &error, log.tail());
        }
        fault::host(
            about,
            io::ErrorKind::UnexpectedEof,
            "the build ended without an image or a reason".to_owned(),
        )
    }
}

/// The Dockerfile without its `# syntax=` line, if that is what could not be had: the engine's own frontend reads it as well.
fn without_frontend(dockerfile: &[u8], error: &SandboxError) -> Option<Vec<u8>> {
    let text = match error {
        SandboxError::Environment { message, .. } => message.clone(),
        SandboxError::Host { source, .. } => source.to_string(),
        _ => return None,
    };
    let unresolved =
        text.contains("resolve") || text.contains("frontend") || text.contains("pull access denied");
    let end = dockerfile.iter().position(|byte| *byte == b'\n').unwrap_or(dockerfile.len());
    let first = String::from_utf8_lossy(&dockerfile[..end]).into_owned();
    let value =
        first.trim().strip_prefix('#')?.trim().strip_prefix("syntax")?.trim().strip_prefix('=')?.trim();
    let named = value.split([':', '@']).next().is_some_and(|name| text.contains(name));
    (unresolved && named).then(|| [b"#", &dockerfile[end..]].concat())
}

/// Each build needs one of its own: two that share it take each other's answers.
fn session() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let unique = format!("{} {} {number}", std::process::id(), super::store::now_ms());
    Digest::of(unique.as_bytes()).as_str()[..32].to_owned()
}

type Archiver = tokio::task::JoinHandle<io::Result<()>>;

/// The archive in pieces, made while it is sent.
fn archive(
    recipe: &BuildRecipe,
    dockerfile: Vec<u8>,
) -> (impl Stream<Item = io::Result<Bytes>> + Send + use<>, Archiver) {
    let (sender, mut receiver) = mpsc::channel::<io::Result<Bytes>>(PIECES);
    let (context, place) = (recipe.context.clone(), recipe.place.clone());
    let archiver = tokio::task::spawn_blocking(move || {
        let wanted = super::context::Wanted { bytes: &dockerfile, path: place.as_deref().map(Path::new) };
        let mut out = io::BufWriter::with_capacity(PIECE_BYTES, Pipe(sender.clone()));
        let result = context.archive(wanted, &mut out).and_then(|()| out.flush());
        // Whatever is still in the buffer must not follow a failure.
        let (_pipe, _rest) = out.into_parts();
        if let Err(error) = &result {
            let _told = sender.blocking_send(Err(io::Error::new(error.kind(), error.to_string())));
        }
        result
    });
    (stream::poll_fn(move |context| receiver.poll_recv(context)), archiver)
}

struct Pipe(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pipe {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(buffer)));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Turns what builders say into lines.
#[derive(Default)]
struct Shown {
    /// BuildKit's steps that were announced.
    begun: std::collections::HashSet<String>,
}

/// Most steps that are remembered.
const MOST_STEPS: usize = 10_000;

impl Shown {
    fn note(&mut self, info: BuildInfo, log: &mut Log, progress: &Progress) {
        if let Some(text) = info.stream {
            log.write(text.as_bytes());
            let line = text.trim();
            if line.starts_with("Step ") || line.starts_with("STEP ") {
                progress(line);
            }
        }
        if let Some(BuildInfoAux::BuildKit(status)) = info.aux {
            for step in status.vertexes {
                if step.started.is_some()
                    && self.begun.len() < MOST_STEPS
                    && self.begun.insert(step.digest.clone())
                {
                    let cached = if step.cached { " (as before)" } else { "" };
                    log.line(&format!("=> {}{cached}", step.name));
                    progress(&step.name);
                }
                if !step.error.is_empty() {
                    log.line(&format!("{}: {}", step.name, step.error));
                }
            }
            for said in status.logs {
                log.write(&said.msg);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_frontend_is_dropped_only_when_it_was_the_reason() {
        let file = b"# syntax=docker/dockerfile:1\nFROM x\n";
        let failed =
            |message: &str| SandboxError::Environment { message: message.to_owned(), log: String::new() };
        let reason =
            failed("failed to resolve source metadata for docker.io/docker/dockerfile:1: no such host");
        assert_eq!(without_frontend(file, &reason).as_deref(), Some(&b"#\nFROM x\n"[..]));
        assert_eq!(without_frontend(b"FROM x\n", &reason), None);
        let other = failed("failed to resolve source metadata for docker.io/library/x");
        assert_eq!(without_frontend(file, &other), None);
    }

    #[test]
    fn build_sessions_are_never_the_same() {
        assert_ne!(session(), session());
    }
}
