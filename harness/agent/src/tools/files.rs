//! Files inside, read and written as the agent's user by the sandbox's own shell, so that rights, links and modes are what they
//! are for any program of that user.

use harness_sandbox::{Exit, SandboxError};

use super::Desk;

/// Largest file that tools handle.
pub(super) const MAX_FILE: usize = 8 << 20;

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// A regular file.
    File(Vec<u8>),
    /// A folder, as `ls -la` lists it.
    Folder(String),
    /// Nothing.
    Nothing,
    /// Something that is no file, or cannot be read: in a sentence.
    Refused(String),
}

const READ: &str = "if [ -d \"$1\" ]; then ls -la \"$1\"; exit 90; fi
if [ ! -e \"$1\" ]; then exit 91; fi
if [ ! -f \"$1\" ]; then exit 92; fi
cat \"$1\"";
const WRITE: &str = "folder=$(dirname \"$1\")
if [ ! -d \"$folder\" ]; then mkdir -p \"$folder\" || exit 1; fi
cat > \"$1\"";
const MOVE: &str = "folder=$(dirname \"$2\")
if [ ! -d \"$folder\" ]; then mkdir -p \"$folder\" || exit 1; fi
mv -n -- \"$1\" \"$2\"";

impl Desk<'_> {
    /// Reads what is at a path from the root.
    pub(crate) async fn read_file(&self, path: &str) -> Result<Found, SandboxError> {
        let result = self.script(READ, &[path], None, MAX_FILE + 1).await?;
        Ok(match result.exit {
            Exit::Code(0) if result.stdout.total > MAX_FILE as u64 => Found::Refused(format!(
                "{path} has more than {MAX_FILE} bytes; look at parts of it with bash"
            )),
            Exit::Code(0) => Found::File(result.stdout.head),
            Exit::Code(90) => Found::Folder(result.stdout.text()),
            Exit::Code(91) => Found::Nothing,
            Exit::Code(92) => Found::Refused(format!("{path} is no regular file")),
            exit => Found::Refused(format!("{path} cannot be read: {}", why(exit, &result.stderr.text()))),
        })
    }

    /// Writes a file, and the folders to it; `Err` is a sentence for the model.
    pub(crate) async fn write_file(
        &self,
        path: &str,
        bytes: &[u8],
    ) -> Result<Result<(), String>, SandboxError> {
        self.done(WRITE, &[path], Some(bytes), "written").await
    }

    /// Removes a file; `Err` is a sentence for the model.
    pub(super) async fn remove_file(&self, path: &str) -> Result<Result<(), String>, SandboxError> {
        self.done("rm -- \"$1\"", &[path], None, "removed").await
    }

    /// Gives a file another path, where nothing is yet; `Err` is a sentence for the model.
    pub(super) async fn move_file(&self, from: &str, to: &str) -> Result<Result<(), String>, SandboxError> {
        self.done(MOVE, &[from, to], None, "moved").await
    }

    async fn done(
        &self,
        script: &str,
        paths: &[&str],
        bytes: Option<&[u8]>,
        what: &str,
    ) -> Result<Result<(), String>, SandboxError> {
        let result = self.script(script, paths, bytes, 1024).await?;
        if result.exit.success() {
            return Ok(Ok(()));
        }
        let why = why(result.exit, &result.stderr.text());
        Ok(Err(format!("{} cannot be {what}: {why}", paths[0])))
    }
}

fn why(exit: Exit, complaint: &str) -> String {
    let complaint = complaint.trim();
    if complaint.is_empty() { format!("{exit:?}") } else { complaint.chars().take(300).collect() }
}
