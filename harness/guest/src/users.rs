//! Whom a command runs as, by the sandbox's own `/etc/passwd` and `/etc/group`, which may be anything: read with a limit,
//! never waited for, broken lines skipped.

use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

/// Largest account file that is read.
const LIMIT: u64 = 1 << 20;
/// Most supplementary groups that the kernel takes.
const MAX_GROUPS: usize = 65536;

/// An account, looked up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) home: Vec<u8>,
}

impl Account {
    /// Who a command runs as where nothing is said.
    pub(crate) fn root() -> Account {
        Account { uid: 0, gid: 0, groups: Vec::new(), home: b"/root".to_vec() }
    }
}

/// Looks up `name`, `uid`, `name:group` or `uid:gid`; empty means root.
pub(crate) fn look_up(wanted: &[u8]) -> Result<Account, String> {
    if wanted.is_empty() {
        return Ok(Account::root());
    }
    resolve(wanted, &read("/etc/passwd"), &read("/etc/group"))
}

fn read(path: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Not waiting matters where someone put a pipe in its place.
    let opened = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    if let Ok(file) = opened
        && file.metadata().is_ok_and(|data| data.is_file())
    {
        let _ = file.take(LIMIT).read_to_end(&mut bytes);
    }
    bytes
}

fn resolve(wanted: &[u8], passwd: &[u8], group: &[u8]) -> Result<Account, String> {
    let mut halves = wanted.splitn(2, |byte| *byte == b':');
    let user = halves.next().unwrap_or_default();
    let wanted_group = halves.next().filter(|name| !name.is_empty());
    let shown = String::from_utf8_lossy(user);
    // A name wins over a number, as with every tool that takes both.
    let entry = lines(passwd, 7).find(|fields| fields[0] == user).or_else(|| {
        let id = number(user)?;
        lines(passwd, 7).find(|fields| number(fields[2]) == Some(id))
    });
    let (uid, own_gid, home, name) = match &entry {
        Some(fields) => {
            let uid = number(fields[2]).ok_or_else(|| format!("/etc/passwd gives {shown} no valid id"))?;
            (uid, number(fields[3]).unwrap_or(uid), fields[5].to_vec(), Some(fields[0]))
        }
        None => match number(user) {
            Some(uid) => (uid, 0, b"/".to_vec(), None),
            None => return Err(format!("there is no user {shown} in /etc/passwd")),
        },
    };
    let Some(wanted_group) = wanted_group else {
        let mut groups: Vec<u32> = match name {
            Some(name) => lines(group, 4)
                .filter(|fields| fields[3].split(|byte| *byte == b',').any(|member| member == name))
                .filter_map(|fields| number(fields[2]))
                .take(MAX_GROUPS)
                .collect(),
            None => Vec::new(),
        };
        groups.retain(|gid| *gid != own_gid);
        return Ok(Account { uid, gid: own_gid, groups, home });
    };
    let gid = lines(group, 4)
        .find(|fields| fields[0] == wanted_group)
        .and_then(|fields| number(fields[2]))
        .or_else(|| number(wanted_group))
        .ok_or_else(|| {
            format!("there is no group {} in /etc/group", String::from_utf8_lossy(wanted_group))
        })?;
    Ok(Account { uid, gid, groups: Vec::new(), home })
}

fn lines(text: &[u8], fields: usize) -> impl Iterator<Item = Vec<&[u8]>> {
    text.split(|byte| *byte == b'\n')
        .map(|line| line.split(|byte| *byte == b':').collect::<Vec<_>>())
        .filter(move |found| found.len() >= fields)
}

fn number(text: &[u8]) -> Option<u32> {
    let text =
        std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] =
        b"root:x:0:0:root:/root:/bin/sh\nbroken\nann:x:1000:1001:Ann:/home/ann:/bin/sh\n7:x:5:5::/:/x\n";
    const GROUP: &[u8] = b"root:x:0:\nann:x:1001:\nwheel:x:10:bob,ann\n:::\n";

    #[test]
    fn a_name_brings_its_groups_and_home() {
        let ann = resolve(b"ann", PASSWD, GROUP).expect("ann exists");
        assert_eq!(ann, Account { uid: 1000, gid: 1001, groups: vec![10], home: b"/home/ann".to_vec() });
    }

    #[test]
    fn a_number_needs_no_entry_but_uses_one() {
        assert_eq!(resolve(b"1000", PASSWD, GROUP).expect("known").gid, 1001);
        let unknown = resolve(b"4242", PASSWD, GROUP).expect("any number");
        assert_eq!((unknown.uid, unknown.gid), (4242, 0));
        assert_eq!(resolve(b"7", PASSWD, GROUP).expect("a name of digits").uid, 5);
    }

    #[test]
    fn a_group_is_by_name_or_number() {
        assert_eq!(resolve(b"ann:wheel", PASSWD, GROUP).expect("wheel exists").gid, 10);
        assert_eq!(resolve(b"1:77", PASSWD, GROUP).expect("any number").gid, 77);
    }

    #[test]
    fn what_is_missing_is_named() {
        assert!(resolve(b"eve", PASSWD, GROUP).expect_err("no eve").contains("eve"));
        assert!(resolve(b"ann:eves", PASSWD, GROUP).expect_err("no eves").contains("eves"));
        assert!(resolve(b"-1", PASSWD, GROUP).is_err());
        assert!(resolve(b"99999999999", PASSWD, GROUP).is_err());
    }
}
