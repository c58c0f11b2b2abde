//! From a task's description to an image that containers can be made of.

use std::collections::BTreeMap;
use std::sync::Arc;

use harness_core::Digest;

use super::client;
use super::engine::{Engine, asked};
use super::images::Images;
use super::{ImageHandle, NAME};
use crate::{EnvironmentRequest, Image, Progress, SandboxError};

/// Where programs are looked for when an image does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// See [`crate::Backend::prepare`].
pub(crate) async fn prepare(
    engine: &Engine,
    images: &Images,
    request: &EnvironmentRequest,
    progress: &Progress,
) -> Result<Arc<Image>, SandboxError> {
    let image = images.ensure(request, progress).await?;
    let handle = handle(engine, &image.id, &image.name).await?;
    let mut env = BTreeMap::from([("PATH".to_owned(), PATH.to_owned()), ("HOME".into(), "/root".into())]);
    env.extend(image.env.clone());
    env.extend(request.spec.env.clone());
    Ok(Arc::new(Image {
        digest: image.digest.clone(),
        name: image.name.clone(),
        env,
        workdir: request.spec.workdir.clone().unwrap_or_else(|| image.workdir.clone()),
        user: image.user.clone(),
        entrypoint: image.entrypoint.clone(),
        weaknesses: Vec::new(),
        handle: Box::new(ImageHandle { _kept: Some(image), ..handle }),
    }))
}

/// An image that is there already, by id or name.
pub(crate) async fn present(engine: &Engine, name: &str) -> Result<Arc<Image>, SandboxError> {
    let handle = handle(engine, name, name).await?;
    Ok(Arc::new(Image {
        digest: Digest::of(handle.id.as_bytes()),
        name: name.to_owned(),
        env: BTreeMap::from([("PATH".to_owned(), PATH.to_owned())]),
        workdir: "/".to_owned(),
        user: None,
        entrypoint: Vec::new(),
        weaknesses: Vec::new(),
        handle: Box::new(handle),
    }))
}

async fn handle(engine: &Engine, id: &str, name: &str) -> Result<ImageHandle, SandboxError> {
    let found = asked(&engine.client, || engine.client.short().inspect_image(id)).await;
    let found = found.map_err(|error| client::failed(format!("look at the image {name}"), error))?;
    let arch = &engine.client.engine().arch;
    if let Some(other) = found.architecture.filter(|other| !other.is_empty() && other != arch) {
        return Err(SandboxError::Unsupported {
            backend: NAME,
            what: format!(
                "running the image {name}, made for {other}, on an engine for {arch}; use an image for {arch}"
            ),
        });
    }
    Ok(ImageHandle {
        id: found.id.unwrap_or_else(|| id.to_owned()),
        _kept: None,
        layers: found.root_fs.and_then(|root| root.layers).map_or(0, |layers| layers.len()),
        volumes: found.config.and_then(|config| config.volumes).unwrap_or_default(),
    })
}
