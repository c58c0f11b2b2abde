//! Which paths of a sandbox differ from its image: the guest's library lists them, here they become what callers know.

use std::io::BufReader;

use harness_guest::changes::{self, Changed, Kind};
use harness_guest::message::{FileOp, Layers};
use harness_guest::tree;

pub(crate) use harness_guest::changes::Stack;

use super::guest::Guest;
use super::transfer;
use crate::{Change, ChangeKind, FileType, SandboxError};

/// Largest list that PID 1 may send: a million long paths.
const MOST_BYTES: u64 = 512 << 20;

/// Lists what differs in overlays that we may read ourselves, sorted. Blocks.
///
/// # Errors
/// [`SandboxError::TooLarge`] above `limit` changes altogether, or what the host refused.
pub(crate) fn list<'a>(
    stacks: impl IntoIterator<Item = Stack<'a>>,
    mount_points: &[Vec<u8>],
    limit: usize,
) -> Result<Vec<Change>, SandboxError> {
    let mut found = Vec::new();
    for stack in stacks {
        changes::list(&stack, mount_points, limit, &mut found).map_err(|error| match error {
            tree::Error::TooLarge(what, limit) => SandboxError::TooLarge { what, limit },
            tree::Error::Host(what, source) => SandboxError::Host { what, source },
            other => SandboxError::host("look for what changed", std::io::Error::other(other.to_string())),
        })?;
    }
    Ok(known(found))
}

/// Has PID 1 list what differs, where it alone may read the layers.
pub(crate) async fn ask(guest: &Guest, layers: Layers, limit: usize) -> Result<Vec<Change>, SandboxError> {
    let op = FileOp::Changes { layers, limit: limit as u64 };
    transfer::with_socket(guest, 0, op, |socket| {
        let bytes = tree::receive_bytes(&mut BufReader::new(socket), MOST_BYTES)?;
        let found = changes::decode(&bytes).map_err(|error| tree::Error::Broken(error.to_string()))?;
        Ok(known(found))
    })
    .await
}

fn known(found: Vec<Changed>) -> Vec<Change> {
    let mut changes: Vec<Change> = found.into_iter().map(change).collect();
    changes.sort();
    changes
}

fn change(changed: Changed) -> Change {
    let file_type = changed.now.map(|(mode, _)| match mode & libc::S_IFMT {
        libc::S_IFREG => FileType::File,
        libc::S_IFDIR => FileType::Folder,
        libc::S_IFLNK => FileType::Link,
        _ => FileType::Other,
    });
    Change {
        path: changed.path,
        kind: match changed.kind {
            Kind::Added => ChangeKind::Added,
            Kind::Modified => ChangeKind::Modified,
            Kind::Deleted => ChangeKind::Deleted,
        },
        size: changed.now.filter(|_| file_type == Some(FileType::File)).map_or(0, |(_, size)| size),
        file_type,
    }
}
