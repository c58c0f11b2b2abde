//! The bundled suite as the scripted model plays it: what is said to be solved is solved, by the tasks' own tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use harness_core::{AgentExit, Task};
use harness_sandbox::{
    BACKENDS, Backend, BackendOptions, EnvironmentRequest, ExecSpec, Labels, ProcessSpec, PutOptions, RootFs,
    SandboxSpec, Source,
};

use crate::support::{Piece, Played, run_for};

/// What each conversation comes to; every other task is solved.
const OTHERWISE: &[(&str, AgentExit)] = &[
    ("c-record-cuts", AgentExit::Finished),
    ("c-word-counts", AgentExit::Finished),
    ("flatten-shop-layers", AgentExit::Finished),
    ("rust-formula-sheet", AgentExit::Finished),
    ("rust-scanner-dedup", AgentExit::GaveUp),
    ("unify-report-writers", AgentExit::GaveUp),
];

/// What came of one conversation.
struct Came {
    exit: AgentExit,
    reason: String,
    reward: String,
    ran: Vec<String>,
    steps: u64,
    tokens: u64,
}

async fn one(backend: &dyn Backend, task: &Task, script: &str) -> Option<Came> {
    let digest = task.digest.clone();
    let request = EnvironmentRequest { spec: task.environment.clone(), digest, log: None };
    let image = backend.prepare(&request, Arc::new(|_| {})).await.unwrap();
    let sandbox = backend
        .create(SandboxSpec {
            labels: Labels { run: "starter".into(), trial: task.id.to_string(), role: "agent".into() },
            image: Arc::clone(&image),
            snapshot: None,
            limits: task.environment.limits,
            network: task.environment.network.clone(),
            mounts: Vec::new(),
        })
        .await
        .unwrap();
    let tools = task.hints.tools.join(" ");
    let look = format!("for tool in {tools}; do command -v $tool >/dev/null || echo $tool; done");
    let missing = sandbox.exec(ExecSpec::new(ProcessSpec::shell(&look))).await.unwrap().stdout.text();
    if !missing.is_empty() {
        eprintln!("skipped by name: {}: {} not found", task.id, missing.trim());
        return None;
    }
    let piece = Piece {
        instruction: &task.steps[0].instruction,
        workdir: &image.workdir,
        wire: "openai-chat",
        time: Duration::from_secs(100),
        ..Piece::new(&*sandbox, Played::new(script))
    };
    let outcome = piece.work().await;
    let tests = task.origin.join("tests");
    sandbox.put("/tests", Source::Folder(tests), PutOptions::default()).await.unwrap();
    let judge = "mkdir -p /logs/verifier; case $(head -n 1 /tests/test.sh) in *bash*) bash /tests/test.sh;; *) sh /tests/test.sh;; esac";
    let process = ProcessSpec {
        user: Some("0".into()),
        cwd: Some(image.workdir.clone()),
        deadline: Some(Duration::from_secs(60)),
        ..ProcessSpec::shell(judge)
    };
    sandbox.exec(ExecSpec::new(process)).await.unwrap();
    let reward = sandbox.read("/logs/verifier/reward.txt", 100).await.unwrap().unwrap_or_default();
    let report = outcome.report();
    let played = Came {
        exit: report.exit,
        reason: report.reason.clone(),
        reward: String::from_utf8_lossy(&reward).trim().to_owned(),
        ran: outcome.ran().into_iter().map(str::to_owned).collect(),
        steps: report.steps,
        tokens: report.usage.total().unwrap(),
    };
    sandbox.destroy().await.unwrap();
    Some(played)
}

#[test]
fn conversations_of_starter_come_to_what_they_say() {
    run_for(Duration::from_secs(480), async {
        let cache = tempfile::tempdir_in("/var/tmp").unwrap();
        let bundled = suites::catalog::by_name("starter").unwrap();
        let folder = bundled.unpack(&cache.path().join("suites")).unwrap().with_extension("").join("tasks");
        let tasks = datasets::load(&folder, &Default::default()).unwrap().tasks;
        let conversations = bundled.conversations().unwrap();
        let options = BackendOptions {
            state_dir: cache.path().join("state"),
            rootfs: RootFs::FromTask,
            hidden: vec![cache.path().join("suites")],
        };
        let kind = BACKENDS.iter().find(|kind| kind.name() == "native").unwrap();
        let backend = match kind.open(options).await {
            Ok(backend) => backend,
            Err(error) => {
                eprintln!("skipped by name: conversations_of_starter_come_to_what_they_say: {error}");
                return;
            }
        };
        let otherwise: BTreeMap<&str, AgentExit> = OTHERWISE.iter().copied().collect();
        let mut wrong = Vec::new();
        for task in &tasks {
            if task.hints.users && backend.caps().single_user.is_some() {
                eprintln!("skipped by name: {}: all users are one here", task.id);
                continue;
            }
            if std::env::var("HARNESS_TASK").is_ok_and(|name| name != task.id.as_str()) {
                continue;
            }
            let Some(played) = one(&*backend, task, &conversations[task.id.as_str()]).await else { continue };
            let (exit, reward) = match otherwise.get(task.id.as_str()) {
                Some(exit) => (*exit, "0"),
                None => (AgentExit::Finished, "1"),
            };
            eprintln!(
                "{:<24} {:?} reward {} in {} steps, {} tokens",
                task.id.as_str(),
                played.exit,
                played.reward,
                played.steps,
                played.tokens
            );
            if (played.exit, played.reward.as_str()) != (exit, reward) {
                wrong.push(format!(
                    "{}: {:?} {}\n{}",
                    task.id,
                    played.exit,
                    played.reason,
                    played.ran.join("\n---\n")
                ));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n\n=======\n\n"));
    });
}
