//! `harness clean`: removes what crashes left, and images and installed agents on request, sparing what is alive.

use harness_engine::tools::remove_all;
use harness_sandbox::{BACKENDS, ReapFilter};
use serde_json::json;

use super::{Context, runtime, sandbox};
use crate::args::Clean;
use crate::exit::{Exit, Failure};
use crate::printer;

/// Reaps in every sandbox that opens here.
pub fn clean(context: &Context, options: &Clean) -> Result<Exit, Failure> {
    let json = context.table_or_json()?;
    let runtime = runtime()?;
    let (mut removed, mut bytes, mut failed) = (Vec::new(), 0u64, Vec::new());
    let (mut images, mut kept) = (Vec::new(), Vec::new());
    for kind in BACKENDS {
        let open = sandbox::options(context)?;
        // A backend that does not open here has nothing here either; `doctor` says why.
        let Ok(backend) = runtime.block_on(kind.open(open)) else { continue };
        let filter = ReapFilter { run: None, dry_run: options.dry_run, waiting: true };
        let reaped =
            runtime.block_on(backend.reap(filter)).map_err(|error| Failure::of(Exit::Unexpected, &error))?;
        removed.extend(reaped.sandboxes.into_iter().map(|id| format!("{} {id}", kind.name())));
        bytes += reaped.bytes;
        failed.extend(reaped.failed);
        if options.images {
            let gone = runtime.block_on(backend.remove_images(options.dry_run));
            let gone = gone.map_err(|error| Failure::of(Exit::Unexpected, &error))?;
            images.extend(gone.images);
            bytes += gone.bytes;
            kept.extend(gone.kept);
        }
    }
    let mut agents = Vec::new();
    if options.agents {
        let gone = remove_all(&context.settings.path("state_dir"), options.dry_run);
        let gone = gone.map_err(|error| Failure::of(Exit::Unexpected, &error))?;
        agents = gone.programs;
        bytes += gone.bytes;
        kept.extend(gone.kept);
    }
    if json {
        let line = json!({
            "removed": removed,
            "images": images,
            "agents": agents,
            "kept": kept,
            "bytes": bytes,
            "failed": failed,
            "dry_run": options.dry_run,
        });
        printer::raw(&harness_core::journal::line(&line));
    } else {
        let verb = if options.dry_run { "would remove" } else { "removed" };
        for one in &removed {
            printer::data(&format!("{verb} {one}\n"));
        }
        for one in &images {
            printer::data(&format!("{verb} image {}\n", printer::plain(one)));
        }
        for one in &agents {
            printer::data(&format!("{verb} agent {}\n", printer::plain(one)));
        }
        let sandboxes = if removed.len() == 1 { "sandbox" } else { "sandboxes" };
        let also: String = [("image", images.len()), ("agent", agents.len())]
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(what, count)| format!(", {}", printer::plural(*count, what)))
            .collect();
        printer::data(&format!("{verb} {} {sandboxes}{also}, {} MB\n", removed.len(), bytes / 1_000_000));
    }
    for one in &kept {
        printer::say(&format!("kept {}", printer::plain(one)));
    }
    for one in &failed {
        printer::warn(one);
    }
    Ok(if failed.is_empty() { Exit::Completed } else { Exit::Unexpected })
}
