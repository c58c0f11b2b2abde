//! A bench for each test: its own state folder and context, images that nobody else has, and all of them gone afterwards.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use harness_core::{Digest, EnvironmentSource, EnvironmentSpec, Limits, NetworkMode};
use harness_sandbox::docker::client::{Address, Client};
use harness_sandbox::docker::images::{ImageLimits, Images};
use harness_sandbox::{EnvironmentRequest, Progress, SandboxError};

/// The longest that one test may take.
const BOUND: Duration = Duration::from_secs(180);

pub(crate) type Run = fn(Arc<Bench>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// One test.
#[derive(Clone, Copy)]
pub(crate) struct Test {
    /// A sentence about behaviour.
    pub(crate) name: &'static str,
    /// The only engine that it is about.
    pub(crate) only: Option<&'static str>,
    /// It panics when it fails.
    pub(crate) run: Run,
}

/// Why an engine cannot be used; `None` when it answers.
pub(crate) fn missing(address: &Address) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(Client::connect_to(address.clone())).err()
}

pub(crate) struct Bench {
    pub(crate) engine: &'static str,
    pub(crate) address: Address,
    pub(crate) place: tempfile::TempDir,
    said: Arc<Mutex<Vec<String>>>,
}

impl Bench {
    pub(crate) fn new(engine: &'static str, address: Address) -> Bench {
        let place = tempfile::tempdir_in("/var/tmp").unwrap();
        Bench { engine, address, place, said: Arc::default() }
    }

    pub(crate) fn run(self, run: Run) -> Result<(), String> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let bench = Arc::new(self);
        let result = runtime.block_on(async {
            let task = tokio::spawn(run(Arc::clone(&bench)));
            let abort = task.abort_handle();
            let result = tokio::time::timeout(BOUND, task).await;
            abort.abort();
            // Whatever the test made goes, however it ended; other tests' images are none of its business.
            if let Ok(images) = bench.try_images(ImageLimits::default()).await {
                let _ = images.make_room(u64::MAX).await;
            }
            result
        });
        runtime.shutdown_timeout(Duration::from_secs(5));
        match result {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.is_panic() => {
                let panic = error.into_panic();
                let text = panic.downcast_ref::<String>().cloned();
                Err(text
                    .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                    .unwrap_or_default())
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("not done within {} s", BOUND.as_secs())),
        }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect_to(self.address.clone()).await.unwrap()
    }

    pub(crate) async fn images(&self) -> Images {
        self.try_images(ImageLimits { quota_bytes: None, keep_free_bytes: 0 }).await.unwrap()
    }

    pub(crate) async fn try_images(&self, limits: ImageLimits) -> Result<Images, SandboxError> {
        let client = Client::connect_to(self.address.clone())
            .await
            .map_err(|why| SandboxError::Inside { message: why })?;
        Images::open(client, &self.state(), limits).await
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.place.path().join("state")
    }

    /// Text that no other test and no other run of this one has: nothing is found in a builder's own memory.
    pub(crate) fn unique(&self) -> String {
        self.place.path().file_name().unwrap().to_string_lossy().into_owned()
    }

    /// A folder with these files, and a request to build it.
    pub(crate) fn dockerfile(&self, name: &str, text: &str, files: &[(&str, &str)]) -> EnvironmentRequest {
        let context = self.place.path().join(name);
        std::fs::create_dir_all(&context).unwrap();
        for (file, content) in files.iter().chain(&[("Dockerfile", text)]) {
            let path = context.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        self.request(EnvironmentSource::Dockerfile { file: context.join("Dockerfile"), context })
    }

    pub(crate) fn request(&self, source: EnvironmentSource) -> EnvironmentRequest {
        let spec = EnvironmentSpec {
            source,
            build_timeout: Duration::from_secs(120),
            limits: Limits::default(),
            env: BTreeMap::new(),
            workdir: None,
            network: NetworkMode::None,
            healthcheck: None,
            host_root: false,
        };
        EnvironmentRequest {
            spec,
            digest: Digest::of(b"test"),
            log: Some(self.place.path().join("build.log")),
        }
    }

    pub(crate) fn image(&self, reference: &str, files: Option<&Path>) -> EnvironmentRequest {
        let files = files.map(Path::to_owned);
        self.request(EnvironmentSource::Image { reference: reference.to_owned(), files })
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.place.path().join("build.log")).unwrap_or_default())
            .into_owned()
    }

    /// Collects what is said of progress.
    pub(crate) fn progress(&self) -> Progress {
        let said = Arc::clone(&self.said);
        Arc::new(move |line| said.lock().unwrap().push(line.to_owned()))
    }

    pub(crate) fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }

    /// How often a build really began.
    pub(crate) fn builds(&self) -> usize {
        self.said().iter().filter(|line| line.starts_with("building ")).count()
    }
}

/// The message and log of an environment that is at fault.
pub(crate) fn tasks_fault<T: std::fmt::Debug>(result: Result<T, SandboxError>) -> (String, String) {
    match result {
        Err(SandboxError::Environment { message, log }) => (message, log),
        other => panic!("the description should be at fault: {other:?}"),
    }
}

/// The reason of what is our fault.
pub(crate) fn hosts_fault<T: std::fmt::Debug>(
    result: Result<T, SandboxError>,
) -> (std::io::ErrorKind, String) {
    match result {
        Err(SandboxError::Host { what, source }) => (source.kind(), format!("{what}: {source}")),
        other => panic!("the host should be at fault: {other:?}"),
    }
}

/// A program that speaks to the engine's socket by itself, so that what is looked at is not what is tested.
pub(crate) fn ask(address: &Address, method: &str, path: &str) -> (u16, String) {
    use std::io::{Read, Write};
    let Address::Socket(socket) = address else { panic!("only sockets are tested") };
    let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: x\r\nContent-Length: 0\r\n\r\n").unwrap();
    let mut text = Vec::new();
    stream.read_to_end(&mut text).unwrap();
    let text = String::from_utf8_lossy(&text).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

pub(crate) fn exists(address: &Address, name: &str) -> bool {
    ask(address, "GET", &format!("/v1.41/images/{name}/json")).0 == 200
}

macro_rules! tests {
    ($($(#[$only:ident])? $function:ident: $name:literal;)*) => {
        pub(crate) const TESTS: &[$crate::support::Test] = &[
            $($crate::support::Test {
                name: $name,
                only: $crate::support::only!($($only)?),
                run: |bench| Box::pin($function(bench)),
            },)*
        ];
    };
}
macro_rules! only {
    () => {
        None
    };
    (docker) => {
        Some("docker")
    };
    (podman) => {
        Some("podman")
    };
}
pub(crate) use {only, tests};

/// A Docker engine of its own whose disk is small. It goes, with its disk, when this is dropped.
pub(crate) struct SmallEngine {
    pub(crate) address: Address,
    child: std::process::Child,
    disk: PathBuf,
}

impl SmallEngine {
    /// `None` without root, a loop device or the programs.
    pub(crate) fn start(place: &Path, megabytes: u64) -> Option<SmallEngine> {
        use std::process::{Command, Stdio};
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let image = place.join("disk.img");
        std::fs::File::create(&image).ok()?.set_len(megabytes << 20).ok()?;
        let quietly = |program: &str, arguments: &[&std::ffi::OsStr]| {
            let status =
                Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
            status.is_ok_and(|status| status.success()).then_some(())
        };
        quietly("mkfs.ext4", &["-q".as_ref(), "-m0".as_ref(), image.as_os_str()])?;
        let disk = place.join("disk");
        std::fs::create_dir(&disk).ok()?;
        quietly("mount", &["-o".as_ref(), "loop".as_ref(), image.as_os_str(), disk.as_os_str()])?;
        let socket = place.join("small.sock");
        let log = std::fs::File::create(place.join("small.log")).ok()?;
        let mut host = std::ffi::OsString::from("unix://");
        host.push(&socket);
        // In a network of its own: engines take each other's bridges away.
        let child = Command::new("unshare")
            .args(["--net", "dockerd", "--host"])
            .arg(&host)
            .arg("--data-root")
            .arg(disk.join("data"))
            .arg("--exec-root")
            .arg(place.join("exec"))
            .arg("--pidfile")
            .arg(place.join("small.pid"))
            .arg("--iptables=false")
            .stdin(Stdio::null())
            .stdout(log.try_clone().ok()?)
            .stderr(log)
            .spawn();
        let Ok(child) = child else {
            let _ = quietly("umount", &[disk.as_os_str()]);
            return None;
        };
        let engine = SmallEngine { address: Address::Socket(socket), child, disk };
        for _ in 0..150 {
            if let Address::Socket(socket) = &engine.address
                && std::os::unix::net::UnixStream::connect(socket).is_ok()
            {
                return Some(engine);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        None
    }

    /// Copies an image from another engine.
    pub(crate) fn load(&self, from: &Address, name: &str) {
        use std::io::{Read, Write};
        let (Address::Socket(from), Address::Socket(to)) = (from, &self.address) else { panic!() };
        let mut source = std::os::unix::net::UnixStream::connect(from).unwrap();
        write!(source, "GET /v1.41/images/{name}/get HTTP/1.0\r\nHost: x\r\n\r\n").unwrap();
        // The answer's head ends with an empty line.
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            source.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let mut sink = std::os::unix::net::UnixStream::connect(to).unwrap();
        let head = "POST /v1.41/images/load?quiet=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
                    Content-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n";
        sink.write_all(head.as_bytes()).unwrap();
        let mut piece = vec![0; 1 << 20];
        loop {
            let got = source.read(&mut piece).unwrap();
            write!(sink, "{got:x}\r\n").unwrap();
            sink.write_all(&piece[..got]).unwrap();
            sink.write_all(b"\r\n").unwrap();
            if got == 0 {
                break;
            }
        }
        let mut answer = String::new();
        sink.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("Loaded image"), "{answer}");
    }
}

impl Drop for SmallEngine {
    fn drop(&mut self) {
        // Killed outright, its containerd would stay.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        for _ in 0..100 {
            if let Ok(Some(_)) = self.child.try_wait() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        for folder in [self.disk.join("data/overlay2"), self.disk.clone()] {
            let _ = std::process::Command::new("umount")
                .arg("-l")
                .arg(folder)
                .stderr(std::process::Stdio::null())
                .status();
        }
    }
}
