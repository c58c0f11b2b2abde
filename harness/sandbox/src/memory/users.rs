//! Who a process runs as, looked up in the tree's own `/etc/passwd` and `/etc/group`.

use super::tree::Space;

/// `name`, `uid`, `name:group` or `uid:gid` as ids; `None` when a name is not there.
pub(super) fn look_up(space: &Space, user: &str) -> Option<(u32, u32)> {
    let (user, group) = user.split_once(':').map_or((user, None), |(user, group)| (user, Some(group)));
    let (uid, own_group) = match user.parse::<u32>() {
        Ok(uid) => (uid, entry(space, "/etc/passwd", 2, user).and_then(|line| line.get(3)?.parse().ok())),
        Err(_) => {
            let line = entry(space, "/etc/passwd", 0, user)?;
            (line.get(2)?.parse().ok()?, line.get(3)?.parse().ok())
        }
    };
    let gid = match group {
        None => own_group.unwrap_or(0),
        Some(group) => match group.parse() {
            Ok(gid) => gid,
            Err(_) => entry(space, "/etc/group", 0, group)?.get(2)?.parse().ok()?,
        },
    };
    Some((uid, gid))
}

/// The name of a user, or the number where it has none.
pub(super) fn name_of(space: &Space, uid: u32) -> Vec<u8> {
    let uid = uid.to_string();
    entry(space, "/etc/passwd", 2, &uid).map_or(uid, |line| line[0].clone()).into_bytes()
}

fn entry(space: &Space, file: &str, column: usize, value: &str) -> Option<Vec<String>> {
    let content = space.read(b"", file.as_bytes()).ok()?;
    String::from_utf8_lossy(&content)
        .lines()
        .map(|line| line.split(':').map(String::from).collect::<Vec<_>>())
        .find(|line| line.get(column).is_some_and(|found| found == value))
}
