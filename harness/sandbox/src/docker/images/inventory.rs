//! What we have on an engine's disk, and getting rid of it: only what we built or pulled ourselves, never what anybody uses.
//! Bytes are those of layers that nothing else has: the sum of images' sizes says nothing about a disk.

use std::collections::{BTreeMap, HashMap, HashSet};

use bollard::query_parameters::{ListImagesOptionsBuilder, RemoveImageOptionsBuilder};
use harness_core::Digest;

use super::pull::with_tag;
use super::store::{Made, Note};
use super::{Images, LABEL, NAME_PREFIX};
use crate::docker::client::{failed, is_missing, plain, status};
use crate::{RemovedImages, SandboxError};

/// An image of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name that the engine knows it by; its id where it has none.
    pub name: String,
    /// The engine's id.
    pub id: String,
    /// How it came to be there.
    pub made: Made,
    /// What it was built from, for people.
    pub about: String,
    /// Bytes of its layers, shared ones included.
    pub size: u64,
    /// Bytes that removing it alone would free.
    pub unique_bytes: u64,
    /// Milliseconds since 1970; `None` when this state folder does not know it: another harness made it.
    pub used_ms: Option<u64>,
    /// Whether a living process uses it.
    pub in_use: bool,
}

/// Whom to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// Until ours are no more than this.
    Quota(u64),
    /// Until so much is free, if the disk can be asked.
    Free(u64),
    /// All.
    Nothing,
}

/// A layer on top of those below it.
type Chain = Digest;

/// All images of an engine, by what they are made of.
struct Census {
    ours: Vec<Entry>,
    /// Of each image, from the base up.
    chains: HashMap<String, Vec<(Chain, u64)>>,
    /// How many names keep an image.
    names: HashMap<String, usize>,
    /// How many images have a layer.
    holders: HashMap<Chain, usize>,
    /// Layers that images of others have.
    foreign: HashSet<Chain>,
}

impl Images {
    /// What of ours is there, by name.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    pub async fn inventory(&self) -> Result<Vec<Entry>, SandboxError> {
        Ok(self.census().await?.ours)
    }

    /// Removes the least recently used of what this state folder knows until ours are within the quota.
    ///
    /// # Errors
    /// When the engine cannot be asked; what resists is named in the result.
    pub async fn evict(&self, quota_bytes: u64) -> Result<RemovedImages, SandboxError> {
        self.remove(Until::Quota(quota_bytes), false).await
    }

    /// Removes the least recently used until so many bytes are free, where the engine's disk can be asked.
    ///
    /// # Errors
    /// As for [`Images::evict`].
    pub async fn make_room(&self, free_bytes: u64) -> Result<RemovedImages, SandboxError> {
        self.remove(Until::Free(free_bytes), false).await
    }

    /// Removes everything of ours that nobody uses, for `harness clean --images`; or says what that would be.
    ///
    /// # Errors
    /// As for [`Images::evict`].
    pub async fn remove_all(&self, dry_run: bool) -> Result<RemovedImages, SandboxError> {
        self.remove(Until::Nothing, dry_run).await
    }

    async fn remove(&self, until: Until, dry_run: bool) -> Result<RemovedImages, SandboxError> {
        let mut census = self.census().await?;
        let mut queue = std::mem::take(&mut census.ours);
        if until != Until::Nothing {
            // What another harness made is for that one to remove, or for the user by name.
            queue.retain(|entry| entry.used_ms.is_some());
        }
        queue.sort_by_key(|entry| (entry.used_ms, entry.name.clone()));
        let mut total = census.total(&queue);
        let mut done = RemovedImages::default();
        for entry in queue {
            let enough = match until {
                Until::Quota(quota) => total <= quota,
                Until::Free(wanted) => self.disk.free().is_none_or(|free| free >= wanted),
                Until::Nothing => false,
            };
            if enough {
                break;
            }
            let refused = if dry_run {
                entry.in_use.then(|| "in use".to_owned())
            } else {
                self.remove_one(&entry).await?
            };
            match refused {
                Some(why) => done.kept.push(format!("{}: {why}", entry.name)),
                None => {
                    let freed = census.take_away(&entry.id);
                    total = total.saturating_sub(freed);
                    done.bytes += freed;
                    done.images.push(entry.name);
                }
            }
        }
        Ok(done)
    }

    /// Why it stays; `None` when it is gone. Never by force: a container that is made of it keeps it.
    async fn remove_one(&self, entry: &Entry) -> Result<Option<String>, SandboxError> {
        let lock = self.store.removing(&entry.name);
        let lock = lock.map_err(|error| SandboxError::host("lock an image", error))?;
        let Some(_lock) = lock else { return Ok(Some("in use".to_owned())) };
        let options = RemoveImageOptionsBuilder::default().force(false).noprune(false).build();
        let removed =
            self.client.ask(self.client.short().remove_image(&entry.name, Some(options), None)).await;
        match removed {
            Ok(_) => {}
            Err(error) if is_missing(&error) => {}
            Err(error) if status(&error).is_some() => return Ok(Some(plain(&error))),
            Err(error) => return Err(failed("remove an image", error)),
        }
        self.store.forget(&entry.name);
        Ok(None)
    }

    async fn census(&self) -> Result<Census, SandboxError> {
        let options = ListImagesOptionsBuilder::default().all(false).build();
        let listed = self.client.ask(self.client.short().list_images(Some(options))).await;
        let listed = listed.map_err(|error| failed("list the engine's images", error))?;
        let notes: BTreeMap<String, Note> =
            self.store.notes().into_iter().map(|note| (note.name.clone(), note)).collect();
        let mut census = Census {
            ours: Vec::new(),
            chains: HashMap::new(),
            names: HashMap::new(),
            holders: HashMap::new(),
            foreign: HashSet::new(),
        };
        let mut seen = HashSet::new();
        for image in listed {
            // One may be listed twice, and may go while we look.
            if !seen.insert(image.id.clone()) {
                continue;
            }
            let Some(layers) = self.layers(&image.id).await? else { continue };
            for (chain, _) in &layers {
                *census.holders.entry(chain.clone()).or_default() += 1;
            }
            let tags: Vec<&String> = image.repo_tags.iter().filter(|tag| !tag.contains("<none>")).collect();
            let own = tags.iter().filter(|tag| tag.starts_with(NAME_PREFIX));
            let mut names: Vec<(String, Made)> = own.map(|own| ((*own).clone(), Made::Built)).collect();
            // Somebody has given its name to another image.
            if tags.is_empty() && image.labels.contains_key(LABEL) {
                names.push((image.id.clone(), Made::Built));
            }
            // Pulled by us, and nobody has pulled another under the name since or given it further names.
            let mut pulled =
                notes.values().filter(|note| note.made == Made::Pulled && is_of(note, &image.id, &tags));
            if let Some(note) = pulled.next()
                && names.is_empty()
                && tags.len() <= self.names_of_one_pull()
            {
                names.push((note.name.clone(), Made::Pulled));
            }
            // What has a name of somebody else's stays when ours is taken away.
            let others = if names.is_empty() || names[0].1 == Made::Pulled {
                0
            } else {
                tags.len().saturating_sub(names.len())
            };
            census.names.insert(image.id.clone(), names.len() + others);
            if names.is_empty() || others > 0 {
                census.foreign.extend(layers.iter().map(|(chain, _)| chain.clone()));
            }
            for (name, made) in names {
                let note = notes.get(&name);
                census.ours.push(Entry {
                    in_use: self.store.is_used(&name),
                    id: image.id.clone(),
                    made,
                    about: image.labels.get(super::LABEL_ABOUT).cloned().unwrap_or_else(|| name.clone()),
                    size: u64::try_from(image.size).unwrap_or(0),
                    unique_bytes: 0,
                    used_ms: note.map(|note| note.used_ms),
                    name,
                });
            }
            census.chains.insert(image.id, layers);
        }
        for at in 0..census.ours.len() {
            census.ours[at].unique_bytes = census.freed_by(&census.ours[at].id);
        }
        census.ours.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(census)
    }

    /// An image's layers from the base up, each with its bytes; `None` when it is gone.
    async fn layers(&self, id: &str) -> Result<Option<Vec<(Chain, u64)>>, SandboxError> {
        if let Some(known) = self.layers.lock().expect("nothing panics while it is held").get(id) {
            return Ok(Some(known.clone()));
        }
        let found = self.client.ask(self.client.short().inspect_image(id)).await;
        let inspected = match found {
            Ok(inspected) => inspected,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(failed("look at an image", error)),
        };
        let history = self.client.ask(self.client.short().image_history(id)).await;
        let mut history = match history {
            Ok(history) => history,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(failed("look at an image's layers", error)),
        };
        history.reverse();
        let steps: Vec<(u64, String)> = history
            .into_iter()
            .map(|step| (u64::try_from(step.size).unwrap_or(0), step.created_by))
            .collect();
        let diffs = inspected.root_fs.and_then(|root| root.layers).unwrap_or_default();
        let layers = chains(&diffs, &steps);
        self.layers.lock().expect("nothing panics while it is held").insert(id.to_owned(), layers.clone());
        Ok(Some(layers))
    }
}

impl Census {
    /// Bytes of these images' layers that no image of others has.
    fn total(&self, entries: &[Entry]) -> u64 {
        let ids: HashSet<&String> = entries.iter().map(|entry| &entry.id).collect();
        let layers = ids.into_iter().filter_map(|id| self.chains.get(id)).flatten();
        let own: HashMap<&Chain, u64> = layers
            .filter(|(chain, _)| !self.foreign.contains(chain))
            .map(|(chain, bytes)| (chain, *bytes))
            .collect();
        own.values().sum()
    }

    /// What taking one of its names away would free.
    fn freed_by(&self, id: &str) -> u64 {
        if self.names.get(id).is_some_and(|names| *names > 1) {
            return 0;
        }
        let layers = self.chains.get(id).into_iter().flatten();
        layers.filter(|(chain, _)| self.holders.get(chain) == Some(&1)).map(|(_, bytes)| bytes).sum()
    }

    fn take_away(&mut self, id: &str) -> u64 {
        let freed = self.freed_by(id);
        if let Some(names) = self.names.get_mut(id).filter(|names| **names > 1) {
            *names -= 1;
            return 0;
        }
        for (chain, _) in self.chains.remove(id).unwrap_or_default() {
            if let Some(holders) = self.holders.get_mut(&chain) {
                *holders -= 1;
            }
        }
        freed
    }
}

/// Whether a note is of this image. One without an id was written by a process that was killed while it pulled.
fn is_of(note: &Note, id: &str, tags: &[&String]) -> bool {
    if !note.id.is_empty() {
        return note.id == id;
    }
    let full = with_tag(&note.name);
    tags.iter().any(|tag| **tag == full || tag.ends_with(&format!("/{full}")))
}

/// Puts layers and the steps that made them together. Steps that only describe make no layer; which of the steps without bytes
/// are among them is known by their words, and where that does not come out even nothing but an order of zeros is wrong.
fn chains(diffs: &[String], steps: &[(u64, String)]) -> Vec<(Chain, u64)> {
    const DESCRIBE: &[&str] = &[
        "ENV",
        "CMD",
        "LABEL",
        "EXPOSE",
        "ENTRYPOINT",
        "USER",
        "VOLUME",
        "STOPSIGNAL",
        "HEALTHCHECK",
        "ARG",
        "SHELL",
        "MAINTAINER",
        "ONBUILD",
    ];
    let describes = |words: &str| {
        let words = words.trim_start_matches("/bin/sh -c ").trim_start_matches("#(nop)").trim_start();
        DESCRIBE.contains(&words.split_whitespace().next().unwrap_or_default())
    };
    let mut sizes: Vec<u64> = steps
        .iter()
        .filter(|(bytes, words)| *bytes > 0 || !describes(words))
        .map(|(bytes, _)| *bytes)
        .collect();
    while sizes.len() > diffs.len() {
        // The last one without bytes made no layer after all.
        match sizes.iter().rposition(|bytes| *bytes == 0) {
            Some(at) => drop(sizes.remove(at)),
            None => break,
        }
    }
    let mut below = Digest::of(b"");
    let mut layers = Vec::with_capacity(diffs.len());
    for (at, diff) in diffs.iter().enumerate() {
        below = Digest::of(format!("{} {diff}", below.as_str()).as_bytes());
        layers.push((below.clone(), sizes.get(at).copied().unwrap_or(0)));
    }
    layers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diffs(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn steps(steps: &[(u64, &str)]) -> Vec<(u64, String)> {
        steps.iter().map(|(bytes, words)| (*bytes, (*words).to_owned())).collect()
    }

    #[test]
    fn inventory_gives_each_layer_its_bytes() {
        let classic = steps(&[
            (100, "/bin/sh -c #(nop) ADD file:1 in / "),
            (0, "/bin/sh -c #(nop)  CMD [\"bash\"]"),
            (0, "/bin/sh -c #(nop) WORKDIR /app"),
            (7, "/bin/sh -c #(nop) COPY dir:2 in /app/ "),
            (0, "/bin/sh -c #(nop)  LABEL harness.image=x"),
        ]);
        let found = chains(&diffs(&["a", "b", "c"]), &classic);
        assert_eq!(found.iter().map(|(_, bytes)| *bytes).collect::<Vec<_>>(), [100, 0, 7]);
        // A WORKDIR that was there already makes no layer.
        let found = chains(&diffs(&["a", "c"]), &classic);
        assert_eq!(found.iter().map(|(_, bytes)| *bytes).collect::<Vec<_>>(), [100, 7]);
        let kit = steps(&[(100, ""), (0, "ENV A=1"), (7, "RUN /bin/sh -c x # buildkit")]);
        let found = chains(&diffs(&["a", "c"]), &kit);
        assert_eq!(found.iter().map(|(_, bytes)| *bytes).collect::<Vec<_>>(), [100, 7]);
        assert_eq!(chains(&diffs(&["a"]), &[])[0].1, 0, "a history that says nothing is no reason to fail");
    }

    #[test]
    fn inventory_tells_a_layer_by_all_that_is_below_it() {
        let one = chains(&diffs(&["a", "x"]), &[]);
        let two = chains(&diffs(&["b", "x"]), &[]);
        assert_ne!(one[1].0, two[1].0);
        assert_eq!(chains(&diffs(&["a", "y"]), &[])[0].0, one[0].0);
    }
}
