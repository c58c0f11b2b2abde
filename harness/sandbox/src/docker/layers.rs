//! What a container's file system is stacked from, as its engine says: folders of the engine's own, of which we only ever read.

use std::path::{Path, PathBuf};

use bollard::models::DriverData;
use harness_guest::message::{self, ViewOverlay};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::link::changes::Stack;

/// Uppermost first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Layers {
    /// What was written in this container.
    pub(crate) upper: PathBuf,
    /// What Docker puts between the two: empty files to mount on.
    init: Vec<PathBuf>,
    /// What was written in the containers whose snapshots this one began with.
    frozen: Vec<PathBuf>,
    /// The image's own.
    image: Vec<PathBuf>,
}

impl Layers {
    /// Of a container whose image has this many layers. `None` when the engine stores it in another way than an overlay, or not
    /// as we expect.
    pub(crate) fn of(driver: &DriverData, image_layers: usize) -> Option<Layers> {
        let upper = PathBuf::from(driver.data.get("UpperDir")?);
        let lowers = driver.data.get("LowerDir").map(String::as_str).unwrap_or_default();
        let lowers = lowers.split(':').filter(|path| path.starts_with('/')).map(PathBuf::from);
        let (init, rest): (Vec<_>, Vec<_>) = lowers.partition(|path| is_init(path));
        let frozen = rest.len().checked_sub(image_layers)?;
        let (frozen, image) = rest.split_at(frozen);
        Some(Layers { upper, init, frozen: frozen.to_vec(), image: image.to_vec() })
    }

    /// For listing what changed. Needs the rights to read an engine's own folders.
    pub(crate) fn stack(&self) -> Result<Stack<'static>, Errno> {
        let open = |path: &PathBuf| {
            rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        };
        Ok(Stack {
            at: b"",
            uppers: std::iter::once(&self.upper).chain(&self.frozen).map(open).collect::<Result<_, _>>()?,
            lowers: self.init.iter().chain(&self.image).map(open).collect::<Result<_, _>>()?,
        })
    }

    /// The same for PID 1, below the folder that it keeps. `None` when a layer lies elsewhere.
    pub(crate) fn below(&self, folder: &Path, mount_points: Vec<Vec<u8>>) -> Option<message::Layers> {
        let below = |path: &PathBuf| Some(path.strip_prefix(folder).ok()?.to_str()?.as_bytes().to_vec());
        Some(message::Layers {
            uppers: std::iter::once(&self.upper).chain(&self.frozen).map(below).collect::<Option<_>>()?,
            lowers: self.init.iter().chain(&self.image).map(below).collect::<Option<_>>()?,
            mount_points,
        })
    }

    /// For views: the image without what was written, below the folder that PID 1 keeps. `None` when a layer lies elsewhere.
    pub(crate) fn overlay(&self, folder: &Path) -> Option<ViewOverlay> {
        let below = |path: &PathBuf| Some((0, path.strip_prefix(folder).ok()?.to_str()?.as_bytes().to_vec()));
        let lowers: Option<Vec<_>> = self.init.iter().chain(&self.image).map(below).collect();
        Some(ViewOverlay { at: b"/".to_vec(), lowers: lowers? })
    }
}

fn is_init(path: &Path) -> bool {
    path.parent().and_then(Path::file_name).is_some_and(|name| name.as_encoded_bytes().ends_with(b"-init"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::collections::HashMap;

    use super::*;

    fn driver(lowers: &str) -> DriverData {
        let data = HashMap::from([
            ("UpperDir".to_owned(), "/d/overlay2/c/diff".to_owned()),
            ("LowerDir".to_owned(), lowers.to_owned()),
        ]);
        DriverData { name: "overlay2".into(), data }
    }

    #[test]
    fn what_was_written_before_a_snapshot_is_told_from_the_image() {
        let driver =
            driver("/d/overlay2/c-init/diff:/d/overlay2/s/diff:/d/overlay2/b/diff:/d/overlay2/a/diff");
        let layers = Layers::of(&driver, 2).unwrap();
        assert_eq!(layers.frozen, [PathBuf::from("/d/overlay2/s/diff")]);
        let overlay = layers.overlay(Path::new("/d/overlay2")).unwrap();
        let names: Vec<_> = overlay.lowers.iter().map(|(_, name)| String::from_utf8_lossy(name)).collect();
        assert_eq!(names, ["c-init/diff", "b/diff", "a/diff"]);
        assert_eq!(layers.overlay(Path::new("/elsewhere")), None);
    }

    #[test]
    fn what_is_not_as_expected_is_not_guessed_at() {
        assert_eq!(Layers::of(&driver("/d/overlay2/c-init/diff:/d/overlay2/a/diff"), 2), None);
        assert_eq!(Layers::of(&DriverData::default(), 0), None);
    }
}
