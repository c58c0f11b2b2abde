//! How scripts of tasks are started: with their own `#!` line where they have one, else by a shell.

use std::io::Read;
use std::path::Path;

use harness_sandbox::{ExecSpec, Place, ProcessSpec, SandboxError};

/// The command that runs a script whose host copy is `host` and which lies at `inside`.
///
/// A script without an x bit runs all the same (it is put with one), and one without a `#!` line runs by bash where the
/// place has one, else by sh: task authors rely on both.
///
/// # Errors
/// [`SandboxError::Host`] when the host's copy cannot be read.
pub(crate) async fn script_argv(
    place: &dyn Place,
    host: &Path,
    inside: &str,
) -> Result<Vec<String>, SandboxError> {
    let mut first = [0u8; 2];
    let read = std::fs::File::open(host).and_then(|mut file| file.read(&mut first));
    let read =
        read.map_err(|source| SandboxError::host(format!("cannot read {}", host.display()), source))?;
    if read == 2 && first == *b"#!" {
        return Ok(vec![inside.to_owned()]);
    }
    let probe = ExecSpec::new(ProcessSpec {
        user: Some("0".into()),
        cwd: Some("/".into()),
        ..ProcessSpec::new(["bash", "-c", ":"])
    });
    let shell = match place.exec(probe).await {
        Ok(result) if result.exit.success() => "bash",
        Ok(_) | Err(SandboxError::Inside { .. }) => "sh",
        Err(error) => return Err(error),
    };
    Ok(vec![shell.to_owned(), inside.to_owned()])
}
