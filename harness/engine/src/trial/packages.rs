//! Which changed files the package manager's records account for: an agent that installed a package did honest work.
//!
//! Read as text from the sandbox, bounded: dpkg's file lists, apk's database, pip's RECORD files. The records can be
//! forged by whoever is root inside, which is why [`super::programs`] never listens to them for shells and core utilities.

use std::collections::HashSet;

use harness_sandbox::{Change, ChangeKind, Sandbox, SandboxError};

/// Most records read, and the most bytes of one.
const MAX_RECORDS: usize = 500;
const MAX_RECORD_BYTES: u64 = 4 << 20;

/// The paths that records which changed together with them lay claim to.
pub(super) async fn accounted(
    sandbox: &dyn Sandbox,
    changes: &[Change],
) -> Result<HashSet<String>, SandboxError> {
    let mut paths = HashSet::new();
    let records = changes.iter().filter(|change| change.kind != ChangeKind::Deleted);
    let records = records
        .filter_map(|change| std::str::from_utf8(&change.path).ok())
        .filter_map(|path| Some((path, kind(path)?)));
    for (record, kind) in records.take(MAX_RECORDS) {
        let bytes = match sandbox.read(record, MAX_RECORD_BYTES).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) | Err(SandboxError::TooLarge { .. } | SandboxError::Inside { .. }) => continue,
            Err(error) => return Err(error),
        };
        let text = String::from_utf8_lossy(&bytes);
        match kind {
            Kind::Dpkg => paths.extend(text.lines().flat_map(both)),
            Kind::Apk => paths.extend(apk(&text)),
            Kind::Pip => paths.extend(
                text.lines()
                    .filter_map(|line| pip(record, line))
                    .flat_map(|path| both(&path).into_iter().collect::<Vec<_>>()),
            ),
        }
    }
    Ok(paths)
}

#[derive(Clone, Copy)]
enum Kind {
    Dpkg,
    Apk,
    Pip,
}

fn kind(path: &str) -> Option<Kind> {
    if path.starts_with("/var/lib/dpkg/info/") && path.ends_with(".list") {
        Some(Kind::Dpkg)
    } else if path == "/lib/apk/db/installed" || path == "/usr/lib/apk/db/installed" {
        Some(Kind::Apk)
    } else if path.ends_with(".dist-info/RECORD") {
        Some(Kind::Pip)
    } else {
        None
    }
}

/// A path under both of its names where `/bin` is a link to `/usr/bin`: records name either.
fn both(path: &str) -> [String; 2] {
    let merged = ["/bin/", "/sbin/", "/lib/", "/lib64/"].iter().any(|start| path.starts_with(start));
    let other = if merged { format!("/usr{path}") } else { path.to_owned() };
    [path.to_owned(), other]
}

/// `F:folder` lines followed by `R:file` lines.
fn apk(text: &str) -> Vec<String> {
    let mut folder = "";
    let mut paths = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("F:") {
            folder = name;
        } else if let Some(name) = line.strip_prefix("R:") {
            paths.push(format!("/{folder}/{name}"));
        }
    }
    paths
}

/// One line `path,hash,size`, relative to the folder that holds the `.dist-info`.
fn pip(record: &str, line: &str) -> Option<String> {
    let site = record.rsplitn(3, '/').nth(2)?;
    let relative = line.split(',').next()?.trim_matches('"');
    if relative.starts_with('/') {
        return Some(relative.to_owned());
    }
    let mut parts: Vec<&str> = site.split('/').filter(|part| !part.is_empty()).collect();
    for part in relative.split('/') {
        match part {
            ".." => {
                parts.pop()?;
            }
            "." | "" => {}
            name => parts.push(name),
        }
    }
    Some(format!("/{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_records_of_pip_are_relative_to_their_folder() {
        let record = "/usr/lib/python3/dist-packages/tool-1.dist-info/RECORD";
        assert_eq!(
            pip(record, "tool/__init__.py,sha256=x,12").as_deref(),
            Some("/usr/lib/python3/dist-packages/tool/__init__.py")
        );
        assert_eq!(pip(record, "../../../bin/pytest,,").as_deref(), Some("/usr/bin/pytest"));
        assert_eq!(pip(record, "../../../../../../x,,"), None);
    }

    #[test]
    fn packages_records_of_apk_name_folder_and_file() {
        assert_eq!(apk("P:x\nF:usr/bin\nR:git\nZ:q\nR:scalar\n"), ["/usr/bin/git", "/usr/bin/scalar"]);
    }

    #[test]
    fn packages_paths_count_under_both_names_of_a_merged_root() {
        assert_eq!(both("/bin/tar"), ["/bin/tar", "/usr/bin/tar"]);
    }
}
