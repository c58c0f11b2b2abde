//! A Docker of the test's own, to be killed and brought back, with one small image made of this machine's programs.

#![allow(dead_code, clippy::unwrap_used, reason = "for tests")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use harness_sandbox::docker::client::{Address, Client};
use libtest_mimic::Failed;

use crate::support_engine::Engine;

/// See the module. Everything of it is gone when it is dropped.
pub(crate) struct PrivateEngine {
    folder: tempfile::TempDir,
    child: Option<Child>,
    name: String,
}

impl PrivateEngine {
    /// Why there can be none here. Where engines have to be there, there can.
    pub(crate) fn missing() -> Option<String> {
        if !rustix::process::geteuid().is_root() {
            return Some("only root can start an engine".to_owned());
        }
        let program = std::env::var_os("PATH")
            .and_then(|path| std::env::split_paths(&path).find(|folder| folder.join("dockerd").is_file()));
        let required = std::env::var_os("HARNESS_REQUIRE_ENGINES").is_some_and(|value| value == "1");
        (program.is_none() && !required).then(|| "there is no dockerd here".to_owned())
    }

    pub(crate) async fn start() -> Result<PrivateEngine, Failed> {
        let folder = tempfile::tempdir_in("/var/tmp")?;
        let name = format!("harness-private:{}", std::process::id());
        let mut engine = PrivateEngine { folder, child: None, name };
        engine.restart().await?;
        engine.make_image().await?;
        Ok(engine)
    }

    pub(crate) fn engine(&self) -> Engine {
        Engine::at("private", &self.socket()).of(&self.name)
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    /// Starts it on what it had.
    pub(crate) async fn restart(&mut self) -> Result<(), Failed> {
        let folder = self.folder.path();
        let log = std::fs::File::options().append(true).create(true).open(folder.join("log"))?;
        // What a killed one left would be in the way.
        let _ = std::fs::remove_file(folder.join("pid"));
        // Its own containerd died with it, yet where nobody reaps orphans it is taken to be alive.
        let _ = std::fs::remove_file(folder.join("exec/containerd/containerd.pid"));
        let child = Command::new("dockerd")
            .arg("--data-root")
            .arg(folder.join("data"))
            .arg("--exec-root")
            .arg(folder.join("exec"))
            .arg("--pidfile")
            .arg(folder.join("pid"))
            .arg("--host")
            .arg(format!("unix://{}", self.socket().display()))
            .args(["--bridge", "none", "--iptables=false", "--ip6tables=false", "--ip-masq=false"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.child = Some(child);
        let until = Instant::now() + Duration::from_secs(60);
        while let Err(why) = Client::connect_to(Address::Socket(self.socket())).await {
            if Instant::now() > until {
                let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(15).collect();
                return Err(format!("it does not answer ({why}): {tail:#?}").into());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Kills it without a word. What it had started goes on.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends it as one should, with all that it started.
    pub(crate) fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        if let Some(pid) = rustix::process::Pid::from_raw(child.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let until = Instant::now() + Duration::from_secs(30);
        while child.try_wait().is_ok_and(|status| status.is_none()) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = child.kill();
        let _ = child.wait();
    }

    async fn make_image(&self) -> Result<(), Failed> {
        let root = self.folder.path().join("root");
        for name in ["bin", "tmp", "etc", "root"] {
            std::fs::create_dir_all(root.join(name))?;
        }
        for name in ["sh", "cat", "sleep", "true"] {
            let found = Command::new("sh").args(["-c", &format!("command -v {name}")]).output()?;
            let real = match std::fs::canonicalize(String::from_utf8_lossy(&found.stdout).trim()) {
                Ok(real) => real,
                // A builtin.
                Err(_) => PathBuf::from(format!("/bin/{name}")),
            };
            std::fs::copy(&real, root.join("bin").join(name))?;
            let libraries = Command::new("ldd").arg(&real).output()?;
            for word in String::from_utf8_lossy(&libraries.stdout).split_whitespace() {
                if let Some(below) = word.strip_prefix('/') {
                    let to = root.join(below);
                    std::fs::create_dir_all(to.parent().unwrap())?;
                    std::fs::copy(word, to)?;
                }
            }
        }
        std::fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n")?;
        let mut archive = tar::Builder::new(Vec::new());
        archive.append_dir_all(".", &root)?;
        let (repo, tag) = self.name.split_once(':').unwrap();
        let options = bollard::query_parameters::CreateImageOptions {
            from_src: Some("-".into()),
            repo: Some(repo.into()),
            tag: Some(tag.into()),
            ..Default::default()
        };
        let client = Client::connect_to(Address::Socket(self.socket())).await?;
        let body = bollard::body_full(archive.into_inner()?.into());
        let mut answers = client.long().create_image(Some(options), Some(body), None);
        while let Some(answer) = answers.next().await {
            answer?;
        }
        Ok(())
    }
}

impl Drop for PrivateEngine {
    fn drop(&mut self) {
        self.stop();
        end_what_is_left(self.folder.path());
    }
}

/// A killed engine's helpers live on: those of this one have its folder in their command line.
fn end_what_is_left(folder: &Path) {
    let own = folder.to_string_lossy().into_owned();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        let theirs = ["containerd", "dockerd", "runc"].iter().any(|name| line.contains(name));
        if theirs
            && line.contains(&own)
            && let Some(pid) = rustix::process::Pid::from_raw(pid)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut points: Vec<&str> = mounts.lines().filter_map(|line| line.split(' ').nth(4)).collect();
    points.reverse();
    for point in points.into_iter().filter(|point| point.starts_with(&own)) {
        let _ = rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH);
    }
}
