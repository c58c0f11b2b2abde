//! Trees through a buffer and back, and streams that lie.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("harness-tree-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn pack(path: &Path, exclude: &[Vec<u8>], limit: u64) -> Vec<u8> {
    let parent = File::open(path.parent().unwrap()).unwrap();
    let name = CString::new(path.file_name().unwrap().as_bytes()).unwrap();
    let mut stream = Vec::new();
    let what = Send { limit, max_entries: 1000, exclude, mode: None };
    let sent = send(parent.as_fd(), &name, &what, &mut stream);
    finish(&mut stream, &sent).unwrap();
    stream
}

fn unpack(stream: &[u8], folder: &Path, how: &Receive) -> Result<(), Error> {
    let folder = File::open(folder).unwrap();
    receive(&mut &stream[..], &Destination { folder: folder.as_fd(), name: c"out" }, how)
}

fn plain() -> Receive {
    Receive { limit: 1 << 20, max_entries: 1000, mode_mask: 0o777, owner: None, replace: Replace::Never }
}

#[test]
fn modes_links_times_holes_and_odd_names_survive() {
    let (from, to) = (Folder::new(), Folder::new());
    let source = from.0.join("in");
    fs::create_dir_all(source.join("a/b")).unwrap();
    let odd = source.join(std::ffi::OsStr::from_bytes(b"odd \n\xff'\""));
    fs::write(&odd, b"odd").unwrap();
    fs::set_permissions(&odd, fs::Permissions::from_mode(0o751)).unwrap();
    fs::hard_link(&odd, source.join("a/same")).unwrap();
    symlink("/etc/passwd", source.join("a/b/out")).unwrap();
    let sparse = File::create(source.join("sparse")).unwrap();
    sparse.set_len(1 << 30).unwrap();
    sparse.write_all_at(b"middle", 1 << 29).unwrap();
    fs::set_permissions(source.join("a/b"), fs::Permissions::from_mode(0o500)).unwrap();

    unpack(&pack(&source, &[], 1 << 20), &to.0, &plain()).unwrap();

    let out = to.0.join("out");
    let copy = out.join(odd.file_name().unwrap());
    assert_eq!(fs::read(&copy).unwrap(), b"odd");
    assert_eq!(fs::metadata(&copy).unwrap().mode() & 0o7777, 0o751);
    assert_eq!(fs::metadata(&copy).unwrap().mtime_nsec(), fs::metadata(&odd).unwrap().mtime_nsec());
    assert_eq!(fs::metadata(&copy).unwrap().ino(), fs::metadata(out.join("a/same")).unwrap().ino());
    assert_eq!(fs::read_link(out.join("a/b/out")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(fs::metadata(out.join("a/b")).unwrap().mode() & 0o777, 0o500);
    let sparse = fs::metadata(out.join("sparse")).unwrap();
    assert_eq!(sparse.len(), 1 << 30);
    assert!(sparse.blocks() * 512 < 1 << 20, "holes stay holes");
    for folder in [&out, &source] {
        fs::set_permissions(folder.join("a/b"), fs::Permissions::from_mode(0o700)).unwrap();
    }
}

#[test]
fn limits_and_patterns_hold() {
    let (from, to) = (Folder::new(), Folder::new());
    let source = from.0.join("in");
    fs::create_dir_all(source.join(".git")).unwrap();
    fs::write(source.join("kept"), [7; 600]).unwrap();
    fs::write(source.join(".git/big"), [7; 600]).unwrap();
    let excluded = pack(&source, &[b".git".to_vec()], 1000);
    unpack(&excluded, &to.0, &plain()).unwrap();
    assert!(to.0.join("out/kept").exists() && !to.0.join("out/.git").exists());
    let elsewhere = Folder::new();
    let error = unpack(&pack(&source, &[], 1000), &elsewhere.0, &plain()).unwrap_err();
    assert!(matches!(error, Error::TooLarge(_, 1000)), "{error}");
    // The receiver does not rely on the sender.
    let third = Folder::new();
    let error = unpack(&excluded, &third.0, &Receive { limit: 10, ..plain() }).unwrap_err();
    assert!(matches!(error, Error::TooLarge(_, 10)), "{error}");
    let fourth = Folder::new();
    let error = unpack(&excluded, &fourth.0, &Receive { max_entries: 1, ..plain() }).unwrap_err();
    assert!(matches!(error, Error::TooLarge(_, 1)), "{error}");
}

fn lying(entries: &[(u8, &[u8], &[u8])]) -> Vec<u8> {
    let mut stream = vec![FOLDER, 0, 0, 0, 0];
    stream.extend([0; 16]);
    for (kind, path, rest) in entries {
        stream.push(*kind);
        write_bytes(&mut stream, path).unwrap();
        stream.extend_from_slice(rest);
    }
    stream.push(END);
    stream
}

#[test]
fn a_stream_that_lies_writes_nothing_outside() {
    let outside = Folder::new();
    let mut target = Vec::new();
    write_bytes(&mut target, outside.0.as_os_str().as_bytes()).unwrap();
    let file = [&[0; 16][..], &0_u64.to_le_bytes(), &NO_MORE.to_le_bytes()].concat();
    let mut up = Vec::new();
    write_bytes(&mut up, b"../../../etc/passwd").unwrap();
    for entries in [
        vec![(FILE, &b"../evil"[..], &file[..])],
        vec![(FILE, &b"/evil"[..], &file[..])],
        vec![(FILE, &b"a/../../evil"[..], &file[..])],
        vec![(FILE, &b"nul\0"[..], &file[..])],
        vec![(SYMLINK, &b"link"[..], &target[..]), (FILE, &b"link/evil"[..], &file[..])],
        vec![(HARDLINK, &b"hard"[..], &up[..])],
    ] {
        for replace in [Replace::Never, Replace::Always] {
            let to = Folder::new();
            assert!(unpack(&lying(&entries), &to.0, &Receive { replace, ..plain() }).is_err());
            assert_eq!(fs::read_dir(&outside.0).unwrap().count(), 0);
            assert!(!to.0.join("evil").exists());
        }
    }
}

#[test]
fn a_stream_cut_anywhere_is_an_error() {
    let from = Folder::new();
    let source = from.0.join("in");
    fs::create_dir_all(source.join("a")).unwrap();
    fs::write(source.join("a/b"), b"content").unwrap();
    let stream = pack(&source, &[], 1 << 20);
    for length in 0..stream.len() {
        let to = Folder::new();
        assert!(unpack(&stream[..length], &to.0, &plain()).is_err(), "cut at {length}");
    }
}

#[test]
fn what_stands_in_the_way_is_replaced_and_never_written_through() {
    let (from, to) = (Folder::new(), Folder::new());
    let victim = from.0.join("victim");
    fs::write(&victim, b"untouched").unwrap();
    let source = from.0.join("in");
    fs::create_dir_all(source.join("sub")).unwrap();
    fs::write(source.join("file"), b"new").unwrap();
    fs::write(source.join("sub/file"), b"new").unwrap();
    fs::create_dir(to.0.join("out")).unwrap();
    symlink(&victim, to.0.join("out/file")).unwrap();
    symlink(&from.0, to.0.join("out/sub")).unwrap();
    unpack(&pack(&source, &[], 100), &to.0, &Receive { replace: Replace::Always, ..plain() }).unwrap();
    assert_eq!(fs::read(&victim).unwrap(), b"untouched");
    assert_eq!(fs::read(to.0.join("out/file")).unwrap(), b"new");
    assert!(fs::symlink_metadata(to.0.join("out/sub")).unwrap().is_dir());
    assert!(!from.0.join("file").exists());
}
