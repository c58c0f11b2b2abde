//! Pulls from a registry on this machine, through a go-between that can misbehave.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::{Bench, ask, exists, hosts_fault, tasks_fault, tests};

tests! {
    #[docker] pulls_once: "a missing image is pulled once, with progress, for many callers";
    #[docker] pulled_base: "a base that is missing is pulled before a build";
    #[docker] interrupted: "a pull that is interrupted is tried again, and nothing half is left";
    #[docker] rate_limited: "a registry that limits pulls is waited for as it asks";
    #[docker] limited_too_long: "a limit that lasts too long is our fault, and the way out is named";
    #[docker] not_there: "an image that is not there is the task's fault, and asked for once";
    unreachable: "a registry that cannot be reached is our fault";
}

/// Debian's registry, an image in it, and the go-between.
pub(crate) struct Registry {
    child: Child,
    tricks: Arc<Tricks>,
    /// What the image is called through the go-between.
    pub(crate) name: String,
    port: u16,
}

/// What the go-between does to requests for manifests.
#[derive(Default)]
pub(crate) struct Tricks {
    /// Close so many connections without a word.
    cut: AtomicUsize,
    /// Answer so many with 429 and this text.
    limit: AtomicUsize,
    text: Mutex<String>,
    /// Cut so many blobs in the middle.
    cut_blobs: AtomicUsize,
    /// Pass blobs on slowly: milliseconds for each piece.
    pub(crate) slow_ms: AtomicUsize,
    /// Requests for manifests of the image.
    seen: AtomicUsize,
}

impl Registry {
    /// Starts all; the engine's own copy of the image is taken away again.
    pub(crate) async fn start(bench: &Bench) -> Registry {
        let upstream = free_port();
        let place = bench.place.path().join("registry");
        std::fs::create_dir(&place).unwrap();
        let config = place.join("config.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{upstream}\n",
            place.display()
        );
        std::fs::write(&config, text).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is installed");
        let tricks = Arc::new(Tricks::default());
        let port = go_between(upstream, Arc::clone(&tricks));
        let name = format!("127.0.0.1:{port}/some/image:1");
        let registry = Registry { child, tricks, name, port };
        for _ in 0..100 {
            if TcpStream::connect(("127.0.0.1", upstream)).is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        registry.push(bench).await;
        registry
    }

    async fn push(&self, bench: &Bench) {
        let images = bench.images().await;
        let text =
            format!("FROM debian:12\nRUN echo {}; head -c 3000000 /dev/urandom > /random\n", bench.unique());
        let request = bench.dockerfile("pushed", &text, &[]);
        let image = images.ensure(&request, &bench.progress()).await.unwrap();
        let (repository, tag) = self.name.rsplit_once(':').unwrap();
        let path = format!("/v1.41/images/{}/tag?repo={repository}&tag={tag}", image.tag);
        assert_eq!(ask(&bench.address, "POST", &path).0, 201);
        let (status, said) = push(&bench.address, &format!("/v1.41/images/{repository}/push?tag={tag}"));
        assert!(status == 200 && said.contains("digest: sha256"), "{said}");
        assert_eq!(ask(&bench.address, "DELETE", &format!("/v1.41/images/{}", self.name)).0, 200);
        drop(image);
        images.evict(0).await.unwrap();
        assert!(!exists(&bench.address, &self.name));
        self.tricks.seen.store(0, Ordering::SeqCst);
    }

    pub(crate) fn tricks(&self) -> &Tricks {
        &self.tricks
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Engines want to be told who pushes, even if nobody asks.
fn push(address: &harness_sandbox::docker::client::Address, path: &str) -> (u16, String) {
    let harness_sandbox::docker::client::Address::Socket(socket) = address else { panic!() };
    let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    write!(stream, "POST {path} HTTP/1.0\r\nHost: x\r\nX-Registry-Auth: e30=\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    (text.split(' ').nth(1).unwrap().parse().unwrap(), text)
}

fn go_between(upstream: u16, tricks: Arc<Tricks>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let tricks = Arc::clone(&tricks);
            std::thread::spawn(move || {
                let _ = serve(stream, upstream, &tricks);
            });
        }
    });
    port
}

fn take(count: &AtomicUsize) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

/// One request for each connection: whoever wants more connects again.
fn serve(mut client: TcpStream, upstream: u16, tricks: &Tricks) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if client.read(&mut byte)? == 0 {
            return Ok(());
        }
        head.push(byte[0]);
        // Docker tries encryption first, and waits for an answer.
        if head[0] == 0x16 {
            return client.shutdown(Shutdown::Both);
        }
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let get = text.starts_with("GET ") || text.starts_with("HEAD ");
    let manifest = get && text.lines().next().unwrap().contains("/manifests/1 ");
    let blob = text.starts_with("GET ") && text.lines().next().unwrap().contains("/blobs/");
    if manifest {
        tricks.seen.fetch_add(1, Ordering::SeqCst);
        if take(&tricks.cut) {
            return client.shutdown(Shutdown::Both);
        }
        if take(&tricks.limit) {
            let message = tricks.text.lock().unwrap().clone();
            let body = format!("{{\"errors\":[{{\"code\":\"TOOMANYREQUESTS\",\"message\":\"{message}\"}}]}}");
            return write!(
                client,
                "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
        }
    }
    let mut server = TcpStream::connect(("127.0.0.1", upstream))?;
    // The registry writes its own address into answers: it is told the go-between's by the Host line, which goes through.
    let head = text.replacen("\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1);
    server.write_all(head.as_bytes())?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
    });
    let (mut piece, mut sent) = (vec![0; 64 << 10], 0);
    loop {
        let got = server.read(&mut piece)?;
        if got == 0 {
            return client.shutdown(Shutdown::Both);
        }
        client.write_all(&piece[..got])?;
        sent += got;
        if blob && sent > 1_000_000 && take(&tricks.cut_blobs) {
            return client.shutdown(Shutdown::Both);
        }
        if blob {
            std::thread::sleep(Duration::from_millis(tricks.slow_ms.load(Ordering::SeqCst) as u64));
        }
    }
}

async fn pulls_once(bench: Arc<Bench>) {
    let registry = Registry::start(&bench).await;
    registry.tricks().slow_ms.store(100, Ordering::SeqCst);
    let images = Arc::new(bench.images().await);
    let request = bench.image(&registry.name, None);
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (images, request, progress) = (Arc::clone(&images), request.clone(), bench.progress());
            tokio::spawn(async move { images.ensure(&request, &progress).await.unwrap().id })
        })
        .collect();
    let mut ids = Vec::new();
    for caller in callers {
        ids.push(caller.await.unwrap());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
    let said = bench.said();
    let begun = said.iter().filter(|line| **line == format!("pulling {}", registry.name)).count();
    assert_eq!(begun, 1, "{said:?}");
    assert!(said.iter().any(|line| line.contains(" layers, ") && line.ends_with(" MB")), "{said:?}");
    let seen = registry.tricks().seen.load(Ordering::SeqCst);
    images.ensure(&request, &bench.progress()).await.unwrap();
    assert_eq!(registry.tricks().seen.load(Ordering::SeqCst), seen, "the registry was asked again");
    // It is ours now, and what was there before is not.
    let inventory = images.inventory().await.unwrap();
    assert!(
        inventory.iter().any(|entry| entry.name == registry.name && entry.unique_bytes >= 3_000_000),
        "{inventory:?}"
    );
    assert!(inventory.iter().all(|entry| entry.name != "debian:12"), "it was there before");
    let removed = images.evict(0).await.unwrap();
    assert_eq!(removed.images, std::slice::from_ref(&registry.name));
    assert!(!exists(&bench.address, &registry.name) && exists(&bench.address, "debian:12"));
}

async fn pulled_base(bench: Arc<Bench>) {
    let registry = Registry::start(&bench).await;
    let images = bench.images().await;
    let request = bench.dockerfile("one", &format!("FROM {}\nRUN test -f /random\n", registry.name), &[]);
    let image = images.ensure(&request, &bench.progress()).await.unwrap();
    assert_eq!(image.name, registry.name);
    assert!(exists(&bench.address, &registry.name));
}

async fn interrupted(bench: Arc<Bench>) {
    let registry = Registry::start(&bench).await;
    registry.tricks().cut.store(4, Ordering::SeqCst);
    registry.tricks().cut_blobs.store(1, Ordering::SeqCst);
    let images = bench.images().await;
    let request = bench.image(&registry.name, None);
    let image = images.ensure(&request, &bench.progress()).await.unwrap();
    assert!(image.size > 3_000_000);
    let said = bench.said();
    assert!(said.iter().any(|line| line.contains("it failed; again in")), "{said:?}");
    assert!(bench.log().contains("it failed; again in"));
}

async fn rate_limited(bench: Arc<Bench>) {
    let registry = Registry::start(&bench).await;
    *registry.tricks().text.lock().unwrap() = "retry-after: 2s, allowed: 1/minute".to_owned();
    // Docker asks twice in one pull.
    registry.tricks().limit.store(2, Ordering::SeqCst);
    let images = bench.images().await;
    let request = bench.image(&registry.name, None);
    let began = Instant::now();
    images.ensure(&request, &bench.progress()).await.unwrap();
    let took = began.elapsed();
    let said = bench.said();
    assert!(
        took >= Duration::from_secs(2) && took < Duration::from_secs(20),
        "{took:?}: {said:?} {}",
        bench.log()
    );
    assert!(
        said.iter().any(|line| line.contains("the registry limits how often it is asked; again in 2.")),
        "{said:?}"
    );
}

async fn limited_too_long(bench: Arc<Bench>) {
    let registry = Registry::start(&bench).await;
    *registry.tricks().text.lock().unwrap() =
        "You have reached your pull rate limit, try again in 3 hours".to_owned();
    registry.tricks().limit.store(1000, Ordering::SeqCst);
    let images = bench.images().await;
    let request = bench.image(&registry.name, None);
    let began = Instant::now();
    let (kind, why) = hosts_fault(images.ensure(&request, &bench.progress()).await);
    assert!(began.elapsed() < Duration::from_secs(30));
    assert_eq!(kind, std::io::ErrorKind::QuotaExceeded);
    assert!(why.contains("docker login") && why.contains("limit"), "{why}");
}

async fn not_there(bench: Arc<Bench>) {
    let registry = Registry::start(&bench).await;
    let images = bench.images().await;
    let name = format!("127.0.0.1:{}/some/other:1", registry.port);
    let (message, _) = tasks_fault(images.ensure(&bench.image(&name, None), &bench.progress()).await);
    assert!(message.contains(&name) && message.contains("is its name right"), "{message}");
    assert!(!bench.said().iter().any(|line| line.contains("again in")));
    let request = bench.dockerfile("one", &format!("FROM {name}\n"), &[]);
    tasks_fault(images.ensure(&request, &bench.progress()).await);
    assert!(images.inventory().await.unwrap().iter().all(|entry| entry.name != name));
}

async fn unreachable(bench: Arc<Bench>) {
    let images = bench.images().await;
    let name = format!("127.0.0.1:{}/some/image:1", free_port());
    let mut request = bench.image(&name, None);
    request.spec.build_timeout = Duration::from_secs(5);
    let (_, why) = hosts_fault(images.ensure(&request, &bench.progress()).await);
    assert!(why.contains(&name), "{why}");
    assert!(bench.said().iter().any(|line| line.contains("again in")));
}
