//! What a program in Rust gets when a memory sandbox runs it.

use std::sync::Arc;

use super::process::Descriptor;
use super::programs::captured;
use super::shell::Shell;
use crate::Exit;

/// One run of a program that a test registered.
pub struct Call {
    shell: Shell,
    /// Its arguments, its own name first.
    pub argv: Vec<Vec<u8>>,
}

impl Call {
    pub(super) fn new(shell: Shell, argv: &[Vec<u8>]) -> Call {
        Call { shell, argv: argv.to_vec() }
    }

    /// One of its variables.
    pub fn variable(&self, name: &str) -> Option<String> {
        self.shell.env.get(name.as_bytes()).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// The content of a file, links followed; `None` when there is no such file.
    pub fn read(&self, path: &str) -> Option<Vec<u8>> {
        self.shell.space.read(&self.shell.cwd, path.as_bytes()).ok().map(|content| content.to_vec())
    }

    /// Writes a file, making its folders; says whether that was possible.
    pub fn write(&self, path: &str, content: &[u8]) -> bool {
        let (space, cwd) = (&self.shell.space, &self.shell.cwd);
        let made = match path.rsplit_once('/') {
            Some((folder, _)) if !folder.is_empty() => space.make_folders(cwd, folder.as_bytes()).is_ok(),
            _ => true,
        };
        made && space.write(cwd, path.as_bytes(), content, false).is_ok()
    }

    /// Writes to stdout; waits for the reader. A reader that is gone is no error.
    pub async fn print(&self, bytes: &[u8]) {
        let _ = self.shell.fds[1].write(&self.shell.space, bytes).await;
    }

    /// Writes to stderr; waits for the reader. A reader that is gone is no error.
    pub async fn complain(&self, bytes: &[u8]) {
        let _ = self.shell.fds[2].write(&self.shell.space, bytes).await;
    }

    /// The next bytes of stdin; none at its end.
    pub async fn input(&self) -> Vec<u8> {
        self.shell.fds[0].read().await
    }

    /// Runs a script as a child; returns how it ended and its stdout.
    pub async fn script(&self, script: &str) -> (Exit, Vec<u8>) {
        let mut child = self.shell.clone();
        let capture = Descriptor::Capture(Arc::default());
        child.fds[1] = capture.clone();
        let exit = child.run(vec![b"sh".to_vec(), b"-c".to_vec(), script.into()]).await;
        (exit, captured(&capture))
    }
}
