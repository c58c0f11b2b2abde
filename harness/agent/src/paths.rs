//! Which paths an agent may change: globs, and what a path means before anything is asked of the sandbox.

/// Where files may change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PathRules {
    allowed: Vec<String>,
    excluded: Vec<String>,
}

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is out of sight.
    Excluded,
    /// It is not among those that may change.
    NotAllowed,
}

impl PathRules {
    /// Rules of globs, each below the working folder unless it begins at the root.
    pub(crate) fn new(workdir: &str, allowed: &[String], excluded: &[String]) -> PathRules {
        let rooted = |globs: &[String]| globs.iter().map(|glob| absolute(workdir, glob)).collect();
        PathRules { allowed: rooted(allowed), excluded: rooted(excluded) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.allowed.is_empty() && self.excluded.is_empty()
    }

    pub(crate) fn hides(&self, path: &str) -> bool {
        self.excluded.iter().any(|glob| covers(glob, path))
    }

    /// Whether this absolute path may change. Scratch space outside of the working folder is nobody's concern.
    pub(crate) fn may_change(&self, workdir: &str, path: &str) -> Result<(), Refused> {
        if self.hides(path) {
            return Err(Refused::Excluded);
        }
        let ours = path == workdir || path.starts_with(&format!("{}/", workdir.trim_end_matches('/')));
        if self.allowed.is_empty() || !ours || self.allowed.iter().any(|glob| covers(glob, path)) {
            return Ok(());
        }
        Err(Refused::NotAllowed)
    }

    /// What the model is told.
    pub(crate) fn told(&self) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        let mut told = String::new();
        if !self.allowed.is_empty() {
            told.push_str(&format!(
                "Files may be changed only at: {}. Other changes are undone.",
                self.allowed.join(", ")
            ));
        }
        if !self.excluded.is_empty() {
            told.push_str(&format!(" Out of bounds: {}.", self.excluded.join(", ")));
        }
        Some(told)
    }
}

/// A path from the root, without `.` and `..`, as far as that can be said without looking.
pub(crate) fn absolute(workdir: &str, path: &str) -> String {
    let joined = if path.starts_with('/') { path.to_owned() } else { format!("{workdir}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Whether a glob can be used.
pub(crate) fn check_glob(glob: &str) -> Result<(), String> {
    if glob.split('/').any(|part| part == "..") {
        return Err(format!("leads out of the working folder: {glob:?}"));
    }
    if glob.len() > 1000 || glob.contains('\0') {
        return Err("has a glob that is too long or holds a zero byte".to_owned());
    }
    Ok(())
}

/// Whether a path, or a folder that it is in, matches. `*` and `?` stay within a name, `**` is any number of names.
pub(crate) fn covers(glob: &str, path: &str) -> bool {
    let glob: Vec<&str> = glob.split('/').filter(|part| !part.is_empty()).collect();
    let path: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    parts_match(&glob, &path)
}

fn parts_match(glob: &[&str], path: &[&str]) -> bool {
    match (glob.split_first(), path.split_first()) {
        // What is left of the path lies in a folder that matches.
        (None, _) => true,
        (Some((&"**", rest)), _) => {
            rest.is_empty() && !path.is_empty()
                || (0..=path.len()).any(|skip| !rest.is_empty() && parts_match(rest, &path[skip..]))
        }
        (Some(_), None) => false,
        (Some((part, glob)), Some((name, path))) => {
            name_matches(part.as_bytes(), name.as_bytes()) && parts_match(glob, path)
        }
    }
}

/// One name; looks back at the last star only, so that no glob takes long.
fn name_matches(glob: &[u8], name: &[u8]) -> bool {
    let (mut at, mut read, mut star) = (0, 0, None);
    while read < name.len() {
        match glob.get(at) {
            Some(b'*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(b'?') => {
                at += 1;
                read += 1;
            }
            Some(letter) if *letter == name[read] => {
                at += 1;
                read += 1;
            }
            _ => match star {
                Some((place, from)) => {
                    star = Some((place, from + 1));
                    at = place + 1;
                    read = from + 1;
                }
                None => return false,
            },
        }
    }
    glob[at..].iter().all(|letter| *letter == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers_knows_names_folders_and_depth() {
        for (glob, path, expected) in [
            ("/app/src/**", "/app/src/a/b.c", true),
            ("/app/src", "/app/src/a/b.c", true),
            ("/app/src/**", "/app/src", false),
            ("/app/src/**", "/app/srcs/a", false),
            ("/app/*.py", "/app/a.py", true),
            ("/app/*.py", "/app/b/a.py", false),
            ("/app/**/*.py", "/app/b/c/a.py", true),
            ("/app/**/*.py", "/app/a.py", true),
            ("/app/t?st", "/app/test/x", true),
            ("/app/*a*b", "/app/xxaxxbxxb", true),
            ("/app/*a*b", "/app/xxaxxc", false),
        ] {
            assert_eq!(covers(glob, path), expected, "{glob} {path}");
        }
    }

    #[test]
    fn may_change_reads_paths_as_they_are_meant() {
        let rules = PathRules::new("/app", &["src/**".into()], &["src/secret".into()]);
        assert_eq!(rules.may_change("/app", &absolute("/app", "src/a.c")), Ok(()));
        assert_eq!(rules.may_change("/app", &absolute("/app", "src/../test/a.c")), Err(Refused::NotAllowed));
        assert_eq!(rules.may_change("/app", &absolute("/app", "./src/secret/key")), Err(Refused::Excluded));
        assert_eq!(rules.may_change("/app", "/tmp/scratch"), Ok(()));
        assert_eq!(absolute("/app", "../../../etc"), "/etc");
    }
}
