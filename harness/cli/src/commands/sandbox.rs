//! Which sandbox a command uses, and saying so.

use std::path::PathBuf;
use std::sync::Arc;

use harness_sandbox::{BACKENDS, Backend, BackendKind, BackendOptions, RootFs};

use super::Context;
use crate::exit::{Exit, Failure};
use crate::printer;

/// Opens the sandbox that the settings name, or chooses one and says which and what it does not isolate.
pub async fn open(context: &Context) -> Result<Arc<dyn Backend>, Failure> {
    let asked = context.settings.text("sandbox");
    if asked != "auto" {
        let Some(kind) = BACKENDS.iter().find(|kind| kind.name() == asked) else {
            return Err(match context.settings.source("sandbox") {
                "flag" => unknown(Exit::Usage, asked),
                source => {
                    let failure = unknown(Exit::Invalid, asked);
                    Failure { message: format!("{} (from {source})", failure.message), ..failure }
                }
            });
        };
        return open_kind(context, *kind).await;
    }
    // The one sandbox for tests is never chosen: it runs nothing real.
    let mut refusals = Vec::new();
    for kind in BACKENDS.iter().filter(|kind| kind.name() != "memory") {
        match open_kind(context, *kind).await {
            Ok(backend) => {
                printer::say(&format!(
                    "sandbox: {} ({}); what it does not isolate here:",
                    backend.name(),
                    kind.about()
                ));
                for weakness in &backend.caps().weaknesses {
                    printer::say(&format!("  - {}", printer::plain(weakness)));
                }
                return Ok(backend);
            }
            Err(failure) => refusals.push(failure.message),
        }
    }
    Err(Failure::new(Exit::Unexpected, format!("no sandbox works here: {}", refusals.join("; ")))
        .hint("`harness doctor` says what is missing and how to mend it"))
}

/// That there is no such sandbox, and what there is.
pub fn unknown(code: Exit, name: &str) -> Failure {
    let names: Vec<_> = BACKENDS.iter().map(|kind| kind.name()).collect();
    Failure::new(code, format!("there is no sandbox {name:?}"))
        .hint(format!("the sandboxes are {}", names.join(", ")))
}

async fn open_kind(context: &Context, kind: &dyn BackendKind) -> Result<Arc<dyn Backend>, Failure> {
    let quota = context.settings.gigabytes("image_quota_gb")?;
    let opened = kind.open(options(context)?).await;
    let backend = opened.map_err(|error| {
        Failure::of(Exit::Unexpected, &error).hint("`harness doctor` says what is missing and how to mend it")
    })?;
    backend.limit_images(quota);
    Ok(backend)
}

/// What a backend is opened with.
pub fn options(context: &Context) -> Result<BackendOptions, Failure> {
    let settings = &context.settings;
    let rootfs = match settings.text("rootfs") {
        "task" => RootFs::FromTask,
        "host" => RootFs::Host,
        path => {
            let path = PathBuf::from(path);
            let usage = |message: String| {
                Failure::new(Exit::Usage, message).hint("--rootfs takes host, a folder or a tar archive")
            };
            let absolute = std::fs::canonicalize(&path).map_err(|error| {
                usage(format!("the root file system {} cannot be read: {error}", path.display()))
            })?;
            if absolute.is_dir() { RootFs::Dir(absolute) } else { RootFs::Tar(absolute) }
        }
    };
    // Never visible inside, whatever else is: the runs, the state, and the folder that the user works in.
    let here = std::env::current_dir().ok();
    let hidden = [Some(settings.path("runs_dir")), Some(settings.path("state_dir")), here];
    let hidden =
        hidden.into_iter().flatten().map(|path| std::path::absolute(&path).unwrap_or(path)).collect();
    Ok(BackendOptions { state_dir: settings.path("state_dir"), rootfs, hidden })
}
