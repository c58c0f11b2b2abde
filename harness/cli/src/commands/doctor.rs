//! `harness doctor`: what works on this machine, what does not, and how to mend it.

use harness_sandbox::{BACKENDS, Probe, ProbeStatus};
use serde_json::json;

use super::{Context, runtime, sandbox};
use crate::args::Doctor;
use crate::exit::{Exit, Failure};
use crate::printer;

/// Looks, runs `/bin/true` in each sandbox, and says.
pub fn doctor(context: &Context, options: &Doctor) -> Result<Exit, Failure> {
    let json = context.table_or_json()?;
    let wanted = options.sandbox.as_deref();
    if let Some(name) = wanted.filter(|name| BACKENDS.iter().all(|kind| kind.name() != *name)) {
        return Err(sandbox::unknown(Exit::Usage, name));
    }
    let runtime = runtime()?;
    let mut works = false;
    let mut found = Vec::new();
    for kind in BACKENDS.iter().filter(|kind| wanted.is_none_or(|name| kind.name() == name)) {
        let (probes, weaknesses) = runtime.block_on(async {
            match kind.open(sandbox::options(context)?).await {
                Ok(backend) => Ok((backend.doctor().await, backend.caps().weaknesses.clone())),
                Err(error) => {
                    let failure = Failure::of(Exit::Unexpected, &error);
                    let probe = Probe {
                        name: "open".into(),
                        status: ProbeStatus::Broken,
                        detail: failure.message,
                        remedy: None,
                    };
                    Ok((vec![probe], Vec::new()))
                }
            }
        })?;
        let broken = probes.iter().any(|probe| probe.status == ProbeStatus::Broken);
        works |= !broken && kind.name() != "memory";
        found.push((kind.name(), broken, probes, weaknesses));
    }
    let status = |status: ProbeStatus| match status {
        ProbeStatus::Good => "good",
        ProbeStatus::Weak => "weak",
        ProbeStatus::Broken => "broken",
    };
    if json {
        let sandboxes: Vec<_> = found
            .iter()
            .map(|(name, broken, probes, weaknesses)| {
                let probes: Vec<_> = probes
                    .iter()
                    .map(|probe| json!({"name": probe.name, "status": status(probe.status), "detail": probe.detail, "remedy": probe.remedy}))
                    .collect();
                json!({"sandbox": name, "works": !broken, "probes": probes, "weaknesses": weaknesses})
            })
            .collect();
        printer::raw(&harness_core::journal::line(&json!({ "sandboxes": sandboxes })));
    } else {
        for (name, broken, probes, weaknesses) in &found {
            printer::data(&format!("{name}: {}\n", if *broken { "does not work here" } else { "works" }));
            for probe in probes {
                let lead = format!("  {:<7} {:<23} ", status(probe.status), probe.name);
                printer::data(&beside(&lead, &probe.detail));
                if let Some(remedy) = &probe.remedy {
                    printer::data(&beside(&format!("{:34}", ""), &format!("→ {remedy}")));
                }
            }
            for weakness in weaknesses {
                printer::data(&beside(
                    &format!("  {:<7} {:<23} ", "note", "not isolated or limited"),
                    weakness,
                ));
            }
        }
    }
    Ok(if works || wanted == Some("memory") { Exit::Completed } else { Exit::Unexpected })
}

/// A text beside its label, as wide as there is room; below it when that is next to none.
fn beside(lead: &str, text: &str) -> String {
    let indent = lead.chars().count();
    let room = printer::width().saturating_sub(indent).max(30);
    let lines = reports::text::wrap(&printer::plain(text), room);
    let mut out = String::new();
    for (number, line) in lines.iter().enumerate() {
        let before = if number == 0 { lead.to_owned() } else { " ".repeat(indent) };
        out.push_str(format!("{before}{line}").trim_end());
        out.push('\n');
    }
    out
}
