//! The connection to a container engine: which one answers, what it is, and what its refusals mean to us. Whether there is an
//! engine is decided by asking its socket, never by looking for a program.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;

use crate::SandboxError;

/// The name of the backend in messages.
pub const NAME: &str = "docker";

/// Any ordinary question; creating and starting a container under load are among them.
const SHORT: Duration = Duration::from_secs(60);
/// Builds, pulls, commits, large copies: each caller has a deadline of its own.
const LONG: Duration = Duration::from_secs(7 * 24 * 3600);
/// The first question of all: an engine that is alive answers it in a millisecond.
const FIRST: Duration = Duration::from_secs(10);
/// Docker 19.03, and what Podman 3 and later say they are.
const OLDEST_API: (u32, u32) = (1, 40);

/// An engine that has answered.
#[derive(Debug, Clone)]
pub struct Client {
    short: Docker,
    long: Docker,
    engine: Engine,
}

/// What an engine says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    /// Who makes it.
    pub kind: EngineKind,
    /// Its own version.
    pub version: String,
    /// The API version that both sides speak.
    pub api: (u32, u32),
    /// In Docker's words: `amd64`, `arm64`.
    pub arch: String,
    /// Where it was reached.
    pub address: Address,
    /// The best builder that it has.
    pub builder: Builder,
}

/// Who makes an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    /// Docker, or what says that it is.
    Docker,
    /// Podman, which differs in small things.
    Podman,
}

/// What builds Dockerfiles in an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Builder {
    /// The first one, instruction by instruction.
    Classic,
    /// BuildKit.
    BuildKit,
}

/// Where an engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A socket on this machine. That the engine is on this machine, too, is likely but not certain.
    Socket(PathBuf),
    /// `HOST:PORT`, without encryption.
    Tcp(String),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Socket(path) => write!(f, "unix://{}", path.display()),
            Address::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Engine { kind, version, api, address, .. } = self;
        write!(f, "{kind:?} {version} (API {}.{}) at {address}", api.0, api.1)
    }
}

impl Client {
    /// Connects to the engine that `DOCKER_HOST` names; without it to the first that answers of Docker's socket, the user's own
    /// Docker, the user's own Podman, and the system's Podman.
    ///
    /// # Errors
    /// [`SandboxError::Unsupported`] with every place that was asked and what to do.
    pub async fn connect() -> Result<Client, SandboxError> {
        let host = std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty());
        if let Some(host) = host {
            let address = parse_host(&host).map_err(unsupported)?;
            return Client::connect_to(address)
                .await
                .map_err(|why| unsupported(format!("DOCKER_HOST is {host}, and {why}")));
        }
        let mut tried = Vec::new();
        for socket in default_sockets() {
            let shown = socket.display().to_string();
            match Client::connect_to(Address::Socket(socket)).await {
                Ok(client) => return Ok(client),
                Err(why) => tried.push(format!("{shown}: {why}")),
            }
        }
        Err(unsupported(format!(
            "no container engine answers ({}); start Docker or `podman system service`, or name its socket in DOCKER_HOST, \
             or use --sandbox native",
            tried.join("; ")
        )))
    }

    /// Connects to one engine.
    ///
    /// # Errors
    /// In words for people, to be put after the place's name.
    pub async fn connect_to(address: Address) -> Result<Client, String> {
        if let Address::Socket(path) = &address {
            reach(path).await?;
        }
        let docker = open(&address).map_err(|error| plain(&error))?;
        let questions = async {
            let docker = docker.with_timeout(FIRST).negotiate_version().await?;
            let version = docker.version().await?;
            Ok((docker, version))
        };
        let (docker, version) = bounded(FIRST, questions).await.map_err(|error| match error {
            Error::RequestTimeoutError => format!("it has not answered within {} s", FIRST.as_secs()),
            other => plain(&other),
        })?;
        let api = docker.client_version();
        let api = (u32_of(api.major_version), u32_of(api.minor_version));
        if api < OLDEST_API {
            return Err(format!(
                "its API {}.{} is older than {}.{}: Docker 20.10 or Podman 4 is needed",
                api.0, api.1, OLDEST_API.0, OLDEST_API.1
            ));
        }
        let podman = version.components.iter().flatten().any(|part| part.name.starts_with("Podman"));
        let kind = if podman { EngineKind::Podman } else { EngineKind::Docker };
        // Every Docker Engine since 18.09 has BuildKit, and 23.0 made it the default; Windows containers have none.
        let linux = version.os.as_deref() == Some("linux");
        let builder = if linux && !podman { Builder::BuildKit } else { Builder::Classic };
        let engine = Engine {
            kind,
            version: version.version.unwrap_or_default(),
            api,
            arch: version.arch.unwrap_or_default(),
            builder,
            address,
        };
        Ok(Client { short: docker.clone().with_timeout(SHORT), long: docker.with_timeout(LONG), engine })
    }

    /// Waits for an answer that is one value, a minute at most. The library's own limit ends with the answer's first line, so
    /// that an engine which stops in the middle would be waited for without end.
    ///
    /// # Errors
    /// The library's, [`Error::RequestTimeoutError`] among them.
    pub async fn ask<T>(&self, question: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        bounded(SHORT, question).await
    }

    /// For questions that are answered soon, asked by [`Client::ask`].
    pub fn short(&self) -> &Docker {
        &self.short
    }

    /// For builds, pulls, commits and waiting: never ends by itself, the caller bounds it.
    pub fn long(&self) -> &Docker {
        &self.long
    }

    /// Which engine this is.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }
}

async fn bounded<T>(limit: Duration, question: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(limit, question).await.unwrap_or(Err(Error::RequestTimeoutError))
}

/// What an engine's refusal means: always the host's side. The caller turns what is the task's fault into
/// [`SandboxError::Environment`] beforehand.
pub fn failed(what: impl Into<String>, error: Error) -> SandboxError {
    let kind = match &error {
        Error::IOError { err } => err.kind(),
        Error::RequestTimeoutError => io::ErrorKind::TimedOut,
        _ if is_full(&error) => io::ErrorKind::StorageFull,
        _ => match status(&error) {
            Some(404) => io::ErrorKind::NotFound,
            Some(403) => io::ErrorKind::PermissionDenied,
            Some(409) => io::ErrorKind::AlreadyExists,
            _ => io::ErrorKind::Other,
        },
    };
    let hint = match &error {
        _ if kind == io::ErrorKind::StorageFull => {
            " (`harness clean --images` frees what we made on the engine's disk)"
        }
        Error::HyperLegacyError { .. } | Error::HyperResponseError { .. } | Error::IOError { .. } => {
            " (is the engine still running? `harness doctor` asks it)"
        }
        _ => "",
    };
    SandboxError::host(what, io::Error::new(kind, format!("{}{hint}", plain(&error))))
}

/// The status of an answer that was a refusal; `None` when there was no answer.
pub fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// Whether the engine says that there is no such thing.
pub fn is_missing(error: &Error) -> bool {
    status(error) == Some(404)
}

/// Whether the engine's disk is full, as far as its words tell.
pub fn is_full(error: &Error) -> bool {
    let text = plain(error).to_ascii_lowercase();
    text.contains("no space left on device") || text.contains("disk quota exceeded")
}

/// Whether nobody answered: the engine is gone, or never was there.
pub fn is_gone(error: &Error) -> bool {
    matches!(
        error,
        Error::HyperLegacyError { .. }
            | Error::HyperResponseError { .. }
            | Error::IOError { .. }
            | Error::SocketNotFoundError(_)
    )
}

/// An error and its causes, in one line: the library's own words often hide the cause.
pub fn plain(error: &Error) -> String {
    let mut text = match error {
        Error::DockerResponseServerError { status_code, message } => {
            format!("the engine refused ({status_code}): {}", message.trim())
        }
        Error::DockerStreamError { error } => error.trim().to_owned(),
        Error::RequestTimeoutError => "the engine did not answer in time".to_owned(),
        other => other.to_string(),
    };
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

fn unsupported(what: String) -> SandboxError {
    SandboxError::Unsupported { backend: NAME, what }
}

fn u32_of(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn open(address: &Address) -> Result<Docker, Error> {
    let seconds = SHORT.as_secs();
    match address {
        Address::Socket(path) => {
            Docker::connect_with_unix(&path.to_string_lossy(), seconds, bollard::API_DEFAULT_VERSION)
        }
        Address::Tcp(address) => {
            Docker::connect_with_http(&format!("tcp://{address}"), seconds, bollard::API_DEFAULT_VERSION)
        }
    }
}

/// Opens the socket once: the only thing that tells "not there", "nobody listens" and "not for you" apart.
async fn reach(path: &Path) -> Result<(), String> {
    match tokio::net::UnixStream::connect(path).await {
        Ok(_) => Ok(()),
        Err(error) => Err(match error.kind() {
            io::ErrorKind::NotFound => "there is no such socket".to_owned(),
            io::ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
            io::ErrorKind::PermissionDenied => {
                "this user may not open it: join its group (`docker`, for Docker) or use an engine of your own".to_owned()
            }
            _ => error.to_string(),
        }),
    }
}

/// The value of `DOCKER_HOST`.
fn parse_host(host: &str) -> Result<Address, String> {
    if let Some(path) = host.strip_prefix("unix://") {
        return Ok(Address::Socket(path.into()));
    }
    if let Some(address) = host.strip_prefix("tcp://").or_else(|| host.strip_prefix("http://")) {
        if std::env::var("DOCKER_TLS_VERIFY").is_ok_and(|value| !value.is_empty()) {
            return Err(format!(
                "DOCKER_HOST is {host} with DOCKER_TLS_VERIFY, and encrypted connections are not built in: \
                 forward its socket by ssh (`ssh -L /tmp/engine.sock:/var/run/docker.sock HOST`) and name that"
            ));
        }
        return Ok(Address::Tcp(address.trim_end_matches('/').to_owned()));
    }
    Err(format!(
        "DOCKER_HOST is {host}, and only unix://PATH and tcp://HOST:PORT are understood: \
         forward an ssh:// one by `ssh -L /tmp/engine.sock:/var/run/docker.sock HOST`"
    ))
}

/// Where engines listen when nobody has said otherwise, in the order in which they are asked.
fn default_sockets() -> Vec<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()).map_or_else(
        || PathBuf::from(format!("/run/user/{}", rustix::process::getuid().as_raw())),
        PathBuf::from,
    );
    vec![
        PathBuf::from("/var/run/docker.sock"),
        runtime.join("docker.sock"),
        runtime.join("podman/podman.sock"),
        PathBuf::from("/run/podman/podman.sock"),
    ]
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn client_docker_host_is_understood_or_refused_with_the_way_out() {
        assert_eq!(parse_host("unix:///a/b.sock"), Ok(Address::Socket("/a/b.sock".into())));
        assert_eq!(parse_host("tcp://10.0.0.1:2375/"), Ok(Address::Tcp("10.0.0.1:2375".into())));
        for refused in ["ssh://me@host", "npipe:////./pipe/x", "/var/run/docker.sock", "fd://"] {
            let why = parse_host(refused).unwrap_err();
            assert!(why.contains(refused) && why.contains("unix://PATH"), "{why}");
        }
    }

    #[tokio::test]
    async fn client_without_an_engine_says_what_is_at_the_socket() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("engine.sock");
        let why = Client::connect_to(Address::Socket(path.clone())).await.unwrap_err();
        assert_eq!(why, "there is no such socket");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let why = Client::connect_to(Address::Socket(path)).await.unwrap_err();
        assert_eq!(why, "nobody listens there");
    }

    #[tokio::test]
    async fn client_takes_no_program_for_an_engine_that_only_listens() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("engine.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let server = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await;
            }
        });
        let why = Client::connect_to(Address::Socket(path)).await.unwrap_err();
        server.abort();
        assert!(!why.is_empty());
    }

    #[test]
    fn client_names_the_way_out_of_a_full_disk() {
        let full = Error::DockerResponseServerError {
            status_code: 500,
            message: "write /var/lib/docker/tmp/x: no space left on device".to_owned(),
        };
        assert!(is_full(&full));
        let SandboxError::Host { source, .. } = failed("pulling x", full) else { panic!() };
        assert_eq!(source.kind(), io::ErrorKind::StorageFull);
        assert!(source.to_string().contains("harness clean --images"), "{source}");
    }
}
