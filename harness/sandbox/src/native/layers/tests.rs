//! Layers made by many at once, and archives that mean harm.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use harness_core::Digest;
use tar::{Builder, EntryType, Header};

use super::store::{Begun, LayerStore, Note};
use super::unpack::{Owners, UnpackLimits, digest, unpack};

fn key(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

async fn make(store: &LayerStore, name: &str, bytes: u64) -> super::store::Layer {
    match store.begin(&key(name)).await.unwrap() {
        Begun::Ready(layer) => layer,
        Begun::Ours(making) => {
            fs::create_dir(making.tree()).unwrap();
            fs::write(making.tree().join("x"), name).unwrap();
            making.commit(&key(name), &Note { bytes, ..Note::default() }).unwrap()
        }
    }
}

#[tokio::test]
async fn layers_are_made_once_by_many() {
    let state = tempfile::tempdir().unwrap();
    let made = AtomicUsize::new(0);
    let wants = |_| async {
        // Each opens the store by itself, as another process would.
        let store = LayerStore::open(state.path()).unwrap();
        match store.begin(&key("one")).await.unwrap() {
            Begun::Ready(layer) => assert_eq!(fs::read(layer.path().join("x")).unwrap(), b"x"),
            Begun::Ours(making) => {
                made.fetch_add(1, Ordering::SeqCst);
                assert!(store.get(&key("one")).unwrap().is_none());
                fs::create_dir(making.tree()).unwrap();
                tokio::time::sleep(Duration::from_millis(30)).await;
                fs::write(making.tree().join("x"), "x").unwrap();
                making.commit(&key("one"), &Note::default()).unwrap();
            }
        }
    };
    tokio::join!(wants(1), wants(2), wants(3), wants(4));
    assert_eq!(made.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn layers_not_committed_are_gone_and_the_next_one_makes_it() {
    let state = tempfile::tempdir().unwrap();
    let store = LayerStore::open(state.path()).unwrap();
    let Begun::Ours(making) = store.begin(&key("a")).await.unwrap() else { panic!() };
    fs::create_dir(making.tree()).unwrap();
    // Another waits meanwhile, and takes over.
    let wanted = key("a");
    let waiting = store.begin(&wanted);
    let (begun, ()) = tokio::join!(waiting, async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        drop(making);
    });
    let Begun::Ours(making) = begun.unwrap() else { panic!() };
    assert!(!making.tree().exists());
    // Killed: the folder stays, the lock goes.
    fs::create_dir(making.tree()).unwrap();
    std::mem::forget(making);
    assert!(store.get(&key("a")).unwrap().is_none());
}

/// Longer than a test.
const UNUSED: std::time::Duration = std::time::Duration::from_secs(3600);

#[tokio::test]
async fn layers_are_pruned_longest_unused_first_and_never_in_use() {
    let state = tempfile::tempdir().unwrap();
    let store = LayerStore::open(state.path()).unwrap();
    for name in ["old", "used", "young"] {
        drop(make(&store, name, 100).await);
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    let used = store.get(&key("used")).unwrap().unwrap();
    assert_eq!(store.bytes().unwrap(), 300);
    assert_eq!(store.prune(250, UNUSED).unwrap().failed, Vec::<String>::new());
    assert!(store.get(&key("old")).unwrap().is_none());
    assert!(store.get(&key("young")).unwrap().is_some());
    assert_eq!(store.prune(u64::MAX, UNUSED).unwrap().bytes, 0);
    assert!(store.get(&key("young")).unwrap().is_some());
    store.prune(u64::MAX, std::time::Duration::ZERO).unwrap();
    assert!(used.path().join("x").exists());
    assert!(store.get(&key("young")).unwrap().is_none());
    assert_eq!(store.bytes().unwrap(), 100);
    fs::create_dir(state.path().join("layers/.making-debris")).unwrap();
    store.reap().unwrap();
    assert!(!state.path().join("layers/.making-debris").exists());
}

struct Archive(Builder<Vec<u8>>);

impl Archive {
    fn new() -> Archive {
        Archive(Builder::new(Vec::new()))
    }

    /// Writes the name as it is: the crate's own check would refuse hostile ones.
    fn add(&mut self, name: &[u8], kind: EntryType, link: &[u8], content: &[u8]) -> &mut Archive {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o4755 });
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_000_000_000);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    fn write(self, to: &Path) {
        fs::write(to, self.0.into_inner().unwrap()).unwrap();
    }
}

fn try_unpack(
    fill: impl FnOnce(&mut Archive),
) -> (tempfile::TempDir, std::io::Result<super::unpack::Unpacked>) {
    let place = tempfile::tempdir().unwrap();
    let mut archive = Archive::new();
    fill(&mut archive);
    archive.write(&place.path().join("x.tar"));
    fs::write(place.path().join("precious"), "precious").unwrap();
    let limits = UnpackLimits { bytes: 1 << 20, entries: 100 };
    let done = unpack(&place.path().join("x.tar"), &place.path().join("root"), owners(), limits);
    assert_eq!(fs::read(place.path().join("precious")).unwrap(), b"precious");
    assert_eq!(fs::metadata(place.path().join("precious")).unwrap().nlink(), 1);
    (place, done)
}

fn owners() -> Owners {
    if rustix::process::geteuid().is_root() { Owners::Shifted(100_000) } else { Owners::Ours }
}

#[test]
fn layers_unpack_an_ordinary_archive() {
    let (place, done) = try_unpack(|archive| {
        archive
            .add(b"./", EntryType::Directory, b"", b"")
            .add(b"usr/bin/sh", EntryType::Regular, b"", b"program")
            .add(b"usr/bin/bash", EntryType::Link, b"usr/bin/sh", b"")
            .add(b"bin", EntryType::Symlink, b"usr/bin", b"")
            .add(b"bin/late", EntryType::Regular, b"", b"through the link")
            .add(b"abs", EntryType::Symlink, b"/usr", b"")
            .add(b"abs/x", EntryType::Regular, b"", b"below")
            .add(b"/etc/", EntryType::Directory, b"", b"")
            .add(b"dev/null", EntryType::Char, b"", b"")
            .add(b"pipe", EntryType::Fifo, b"", b"")
            .add(b"usr/bin/sh", EntryType::Regular, b"", b"again");
    });
    let done = done.unwrap();
    assert_eq!(done.notes, ["device nodes were left out"]);
    let root = place.path().join("root");
    assert_eq!(fs::read(root.join("usr/bin/sh")).unwrap(), b"again");
    assert_eq!(fs::read(root.join("usr/bin/bash")).unwrap(), b"program");
    assert_eq!(fs::read(root.join("usr/bin/late")).unwrap(), b"through the link");
    assert_eq!(fs::read(root.join("usr/x")).unwrap(), b"below");
    let sh = fs::metadata(root.join("usr/bin/sh")).unwrap();
    assert_eq!((sh.mode() & 0o7777, sh.mtime()), (0o4755, 1_000_000_000));
    if owners() == Owners::Shifted(100_000) {
        assert_eq!((sh.uid(), sh.gid()), (100_007, 100_008));
        assert_eq!(fs::metadata(root.join("usr")).unwrap().uid(), 100_000);
    }
}

#[test]
fn layers_unpack_refuses_to_leave_the_root() {
    for name in [&b"../precious"[..], b"a/../../precious", b"/../precious"] {
        let (_, done) = try_unpack(|archive| {
            archive.add(name, EntryType::Regular, b"", b"evil");
        });
        assert!(done.unwrap_err().to_string().contains("leads out"), "{}", String::from_utf8_lossy(name));
    }
    // Through links: the kernel takes them as inside.
    for target in [&b"../.."[..], b"/", b"..", b"/proc/self/root", b"../../../../../tmp"] {
        let (place, _) = try_unpack(|archive| {
            archive.add(b"l", EntryType::Symlink, target, b"").add(
                b"l/precious",
                EntryType::Regular,
                b"",
                b"evil",
            );
        });
        assert!(!Path::new("/precious").exists() && place.path().join("root").exists());
        let (_, _) = try_unpack(|archive| {
            archive
                .add(b"l", EntryType::Symlink, target, b"")
                .add(b"h", EntryType::Link, b"l/precious", b"")
                .add(b"h", EntryType::Regular, b"", b"evil");
        });
    }
    // A file through a link of its own name replaces the link.
    let (place, done) = try_unpack(|archive| {
        archive.add(b"x", EntryType::Symlink, b"../precious", b"").add(
            b"x",
            EntryType::Regular,
            b"",
            b"evil",
        );
    });
    done.unwrap();
    assert!(fs::symlink_metadata(place.path().join("root/x")).unwrap().is_file());
}

#[test]
fn layers_unpack_has_limits() {
    let (_, done) = try_unpack(|archive| {
        archive.add(b"big", EntryType::Regular, b"", &vec![0; 2 << 20]);
    });
    assert!(done.unwrap_err().to_string().contains("too much"));
    let (_, done) = try_unpack(|archive| {
        for number in 0..101 {
            archive.add(format!("f{number}").as_bytes(), EntryType::Regular, b"", b"");
        }
    });
    assert!(done.unwrap_err().to_string().contains("too many"));
    let (_, done) = try_unpack(|_| ());
    assert!(done.is_err(), "an empty archive is no root");
}

#[test]
fn layers_unpack_reads_gzip_and_names_what_it_cannot_read() {
    let place = tempfile::tempdir().unwrap();
    let mut archive = Archive::new();
    archive.add(b"a", EntryType::Regular, b"", b"content");
    let plain = archive.0.into_inner().unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&plain).unwrap();
    let packed = packed.finish().unwrap();
    let at = |name: &str| place.path().join(name);
    fs::write(at("x.tgz"), &packed).unwrap();
    unpack(&at("x.tgz"), &at("one"), Owners::Ours, UnpackLimits::default()).unwrap();
    assert_eq!(fs::read(at("one/a")).unwrap(), b"content");
    fs::write(at("x.zst"), b"\x28\xb5\x2f\xfd....").unwrap();
    let error = unpack(&at("x.zst"), &at("two"), Owners::Ours, UnpackLimits::default()).unwrap_err();
    assert!(error.to_string().ends_with("is compressed by zstd: give it plain or compressed by gzip"));
    // Cut at every byte: an error or a whole file, never a panic.
    for cut in (0..packed.len()).step_by(7) {
        fs::write(at("cut"), &packed[..cut]).unwrap();
        let into = at(&format!("cut-{cut}"));
        if unpack(&at("cut"), &into, Owners::Ours, UnpackLimits::default()).is_ok() {
            assert_eq!(fs::read(into.join("a")).unwrap(), b"content");
        }
    }
    assert_eq!(digest(&at("x.tgz")).unwrap(), digest(&at("x.tgz")).unwrap());
    assert_ne!(digest(&at("x.tgz")).unwrap(), digest(&at("x.zst")).unwrap());
}
