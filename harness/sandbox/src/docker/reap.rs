//! Removing what dead owners left on an engine: containers, images of snapshots, doors.

use std::collections::{BTreeMap, HashMap};

use bollard::query_parameters::ListImagesOptions;

use super::backend::DockerBackend;
use super::engine::asked;
use super::{client, owner, plain};
use crate::{ReapFilter, Reaped, SandboxError};

/// A container or an image that carries our labels.
struct Found {
    /// Name of a container, id of an image.
    name: String,
    labels: BTreeMap<String, String>,
    running: bool,
}

/// See [`crate::Backend::reap`].
pub(crate) async fn reap(backend: &DockerBackend, filter: &ReapFilter) -> Result<Reaped, SandboxError> {
    let engine = &backend.starter.engine;
    let own = backend.own();
    let mut reaped = Reaped::default();
    for found in containers(backend).await? {
        let mine = own.get(&found.name);
        let run = mine.map(|(run, _)| run).or_else(|| found.labels.get(owner::RUN));
        let wanted = match &filter.run {
            Some(wanted) => run == Some(wanted) && (mine.is_some() || !owner::is_anothers(&found.labels)),
            None => mine.is_none() && owner::is_abandoned(&found.labels, found.running),
        };
        // What runs and is nobody's waits for whoever resumes its run; of one whose state folder is elsewhere we cannot tell: it
        // ends by itself when nobody comes.
        let doors = &backend.starter.doors;
        let ours = doors.is_ours(&found.name);
        let may_wait = mine.is_none() && owner::may_wait(&found.labels, found.running);
        let spared = may_wait && if ours { doors.waits(&found.name) && !filter.waiting } else { true };
        if !wanted || spared {
            continue;
        }
        if !filter.dry_run {
            let bytes = if mine.is_none() { engine.written(&found.name).await } else { None };
            let removed = match mine {
                Some((_, running)) => running.take_apart().await.map(|_| ()),
                None => engine.remove(&found.name).await,
            };
            if let Err(error) = removed {
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
                reaped.failed.push(format!("{}: {error}{}", found.name, cause.unwrap_or_default()));
                continue;
            }
            reaped.bytes += bytes.unwrap_or(0);
            backend.starter.doors.remove(&found.name);
        }
        reaped.sandboxes.push(found.name);
    }
    for found in images(backend).await? {
        let of_run = filter.run.is_some()
            && found.labels.get(owner::RUN) == filter.run.as_ref()
            && !owner::is_anothers(&found.labels);
        let abandoned = filter.run.is_none() && owner::is_abandoned(&found.labels, false);
        if !(of_run || abandoned) || filter.dry_run {
            continue;
        }
        if let Err(error) = engine.remove_image(&found.name).await {
            reaped.failed.push(format!("{}: {error}", found.name));
        }
    }
    reaped.sandboxes.sort();
    Ok(reaped)
}

async fn containers(backend: &DockerBackend) -> Result<Vec<Found>, SandboxError> {
    let listed = plain::labelled(&backend.starter.engine.client, owner::OWNER).await;
    let listed = listed.map_err(|error| SandboxError::host("list containers", error))?;
    let found = listed.into_iter().filter_map(|container| {
        let name = container.names.into_iter().next()?.trim_start_matches('/').to_owned();
        let running = container.state == "running";
        let mut labels = container.labels.unwrap_or_default();
        labels.extend(backend.starter.doors.heir(&name).map(|heir| (owner::OWNER.to_owned(), heir)));
        Some(Found { labels, running, name })
    });
    Ok(found.collect())
}

async fn images(backend: &DockerBackend) -> Result<Vec<Found>, SandboxError> {
    // Of snapshots and probes; those that environments are made of have other labels, and stay.
    let client = &backend.starter.engine.client;
    let listed = asked(client, || {
        let filters = Some(labelled(owner::OWNER));
        client.short().list_images(Some(ListImagesOptions { all: false, filters, ..Default::default() }))
    });
    let listed = listed.await;
    let listed = listed.map_err(|error| client::failed("list images", error))?;
    let found = listed.into_iter().map(|image| Found {
        name: image.id,
        labels: image.labels.into_iter().collect(),
        running: false,
    });
    Ok(found.collect())
}

fn labelled(label: &str) -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), vec![label.to_owned()])])
}
