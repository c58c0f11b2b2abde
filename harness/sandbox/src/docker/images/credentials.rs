//! Who we are to registries: the names and passwords that `docker login` keeps in its file. Helper programs that keep them
//! elsewhere are not called.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::PathBuf;

use bollard::auth::DockerCredentials;
use serde::Deserialize;

/// Largest file.
const FILE_BYTES: u64 = 1 << 20;
/// What Docker's own registry is called in the file.
const HUB: &str = "https://index.docker.io/v1/";

/// By registry.
#[derive(Clone, Default)]
pub(crate) struct Credentials(BTreeMap<String, DockerCredentials>);

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never the secrets themselves.
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[derive(Deserialize)]
struct WireFile {
    #[serde(default)]
    auths: BTreeMap<String, WireEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
struct WireEntry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

impl Credentials {
    /// Reads `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`; nothing where there is none.
    pub(crate) fn load() -> Credentials {
        let folder = std::env::var_os("DOCKER_CONFIG")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker")));
        let mut text = Vec::new();
        let read = folder
            .and_then(|folder| std::fs::File::open(folder.join("config.json")).ok())
            .map(|file| file.take(FILE_BYTES).read_to_end(&mut text));
        match read {
            Some(Ok(_)) => Credentials::parse(&text),
            _ => Credentials::default(),
        }
    }

    fn parse(text: &[u8]) -> Credentials {
        let Ok(file) = serde_json::from_slice::<WireFile>(text) else { return Credentials::default() };
        let entries = file.auths.into_iter().filter_map(|(registry, entry)| {
            let both = entry.auth.as_deref().and_then(decode).and_then(|text| {
                let (name, password) = text.split_once(':')?;
                Some((name.to_owned(), password.to_owned()))
            });
            let (username, password) = both.or_else(|| entry.username.zip(entry.password)).unzip();
            // What a helper keeps has an entry without content.
            (username.is_some() || entry.identitytoken.is_some()).then(|| {
                let credentials = DockerCredentials {
                    username,
                    password,
                    identitytoken: entry.identitytoken,
                    serveraddress: Some(registry.clone()),
                    ..DockerCredentials::default()
                };
                (registry, credentials)
            })
        });
        Credentials(entries.collect())
    }

    /// For one image.
    pub(crate) fn for_image(&self, name: &str) -> Option<DockerCredentials> {
        let first = name.split('/').next().unwrap_or_default();
        let other = name.contains('/') && (first.contains(['.', ':']) || first == "localhost");
        let wanted = if other { first } else { HUB };
        let plain = |registry: &str| {
            let host = registry.trim_start_matches("https://").trim_start_matches("http://");
            host.split('/').next().unwrap_or_default().to_owned()
        };
        let exact = self.0.get(wanted);
        exact
            .or_else(|| {
                self.0.iter().find(|(registry, _)| plain(registry) == plain(wanted)).map(|(_, own)| own)
            })
            .cloned()
    }

    /// For whatever a build pulls by itself.
    pub(crate) fn for_builds(&self) -> Option<HashMap<String, DockerCredentials>> {
        (!self.0.is_empty()).then(|| self.0.clone().into_iter().collect())
    }
}

/// Base64 as every client writes it into that file.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut bits = 0u32;
    let mut count = 0;
    for letter in text.trim_end_matches('=').bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xff_ffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn credentials_are_found_by_registry() {
        let file = br#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "bWU6c2VjcmV0OnBhcnQ="},
            "ghcr.io": {"username": "you", "password": "x"},
            "by.helper": {}
        }, "credsStore": "desktop"}"#;
        let credentials = Credentials::parse(file);
        let hub = credentials.for_image("python:3.12").unwrap();
        assert_eq!((hub.username.as_deref(), hub.password.as_deref()), (Some("me"), Some("secret:part")));
        assert_eq!(credentials.for_image("someone/python:3").unwrap().username.as_deref(), Some("me"));
        assert_eq!(credentials.for_image("ghcr.io/a/b").unwrap().username.as_deref(), Some("you"));
        assert!(credentials.for_image("by.helper/a").is_none());
        assert!(credentials.for_image("localhost:5000/a").is_none());
        assert!(!format!("{credentials:?}").contains("secret"));
        assert!(Credentials::parse(b"{").for_image("x").is_none());
    }
}
