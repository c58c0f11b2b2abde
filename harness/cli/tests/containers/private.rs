//! A Docker of the test's own, to be killed and brought back.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::place::{IMAGE, Place};

/// See the module. Everything of it is gone when it is dropped.
pub struct PrivateEngine {
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl PrivateEngine {
    /// With the image that all tasks use, given by the machine's own; `None` where there can be none.
    pub fn start() -> Option<PrivateEngine> {
        let own = Place::here()?;
        let root = std::fs::metadata("/proc/self")
            .is_ok_and(|about| std::os::unix::fs::MetadataExt::uid(&about) == 0);
        let has = |name: &str| Command::new(name).arg("--version").stdout(Stdio::null()).status().is_ok();
        if !root || !has("dockerd") {
            println!("skipped: only root can start an engine, where there is dockerd");
            return None;
        }
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let mut engine = PrivateEngine { folder, child: None };
        engine.restart();
        let archive = engine.path("image.tar");
        own.docker(&["save", "--output", &archive, IMAGE]).unwrap();
        Place::at(&engine.host()).docker(&["load", "--input", &archive]).unwrap();
        Some(engine)
    }

    pub fn host(&self) -> String {
        format!("unix://{}", self.path("s"))
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Starts it on what it had.
    pub fn restart(&mut self) {
        let log = std::fs::File::options().append(true).create(true).open(self.path("log")).unwrap();
        // What a killed one left would be in the way.
        for left in ["pid", "exec/containerd/containerd.pid"] {
            let _ = std::fs::remove_file(self.folder.path().join(left));
        }
        // In a network of its own: an engine that is told to have no bridge takes `docker0` away from the machine's own engine.
        let mut command = Command::new("unshare");
        command.args([
            "--net",
            "dockerd",
            "--data-root",
            &self.path("data"),
            "--exec-root",
            &self.path("exec"),
        ]);
        command.args(["--pidfile", &self.path("pid"), "--host", &self.host()]);
        command.args(["--bridge", "none", "--iptables=false", "--ip6tables=false", "--ip-masq=false"]);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        let until = Instant::now() + Duration::from_secs(60);
        while Place::at(&self.host()).docker(&["info"]).is_none() {
            assert!(Instant::now() < until, "it does not answer: see {}", self.path("log"));
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Kills it without a word. What it had started goes on.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for PrivateEngine {
    fn drop(&mut self) {
        let host = self.host();
        let docker = |arguments: &[&str]| Place::at(&host).docker(arguments);
        for container in docker(&["ps", "-aq"]).unwrap_or_default().lines() {
            docker(&["rm", "-f", container]);
        }
        if let Some(mut child) = self.child.take() {
            // With TERM it ends what it has started.
            let _ = Command::new("kill").arg(child.id().to_string()).status();
            let _ = crate::room::wait(&mut child, Duration::from_secs(30));
        }
        unmount(self.folder.path());
    }
}

/// What a killed engine had mounted stays otherwise, and its folder with it.
fn unmount(folder: &Path) {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let below = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|at| Path::new(at).starts_with(folder));
    for at in below.collect::<Vec<_>>().into_iter().rev() {
        let _ = Command::new("umount").args(["-l", at]).stderr(Stdio::null()).status();
    }
}
