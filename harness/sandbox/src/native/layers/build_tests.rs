//! Builds against a place that only remembers what it was asked.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use harness_core::Digest;

use super::build::{Build, Built, StepRunner, StepSandbox, build};
use super::store::{Layer, LayerStore};
use crate::native::dockerfile::context::Context;
use crate::native::dockerfile::parse::parse;
use crate::native::dockerfile::steps::{Settings, steps};
use crate::{
    Captured, ExecResult, ExecSpec, Exit, GetOptions, Place, Process, ProcessSpec, PutOptions, SandboxError,
    Source,
};

type Record = Arc<Mutex<Vec<String>>>;

struct Runner(Record);
struct Sandbox(Memory);
struct Memory(Record);

#[async_trait]
impl StepRunner for Runner {
    async fn begin(&self, layers: &[Layer]) -> Result<Box<dyn StepSandbox>, SandboxError> {
        self.0.lock().unwrap().push(format!("begin on {}", layers.len()));
        Ok(Box::new(Sandbox(Memory(self.0.clone()))))
    }
}

#[async_trait]
impl StepSandbox for Sandbox {
    fn place(&self) -> &dyn Place {
        &self.0
    }

    async fn finish(self: Box<Self>, to: &Path) -> Result<u64, SandboxError> {
        fs::create_dir(to).unwrap();
        Ok(1)
    }
}

#[async_trait]
impl Place for Memory {
    async fn spawn(&self, _: ProcessSpec) -> Result<Process, SandboxError> {
        unreachable!("exec is ours")
    }

    async fn put(&self, at: &str, source: Source, options: PutOptions) -> Result<(), SandboxError> {
        let what = match source {
            Source::File(path) => format!("file {}", String::from_utf8(fs::read(path).unwrap()).unwrap()),
            Source::Folder(path) => {
                let mut names: Vec<String> = fs::read_dir(path)
                    .unwrap()
                    .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                    .collect();
                names.sort();
                format!("folder {names:?}")
            }
            Source::Bytes(_) => "bytes".to_owned(),
        };
        self.0.lock().unwrap().push(format!("put {at} {what} {:?} {:?}", options.owner, options.mode));
        Ok(())
    }

    async fn get(&self, _: &str, _: &Path, _: GetOptions) -> Result<(), SandboxError> {
        unreachable!("a build takes nothing out")
    }

    async fn exec(&self, spec: ExecSpec) -> Result<ExecResult, SandboxError> {
        let argv: Vec<String> =
            spec.process.argv.iter().map(|arg| String::from_utf8(arg.clone()).unwrap()).collect();
        assert!(spec.process.deadline.is_some());
        let code = i32::from(argv.iter().any(|arg| arg.contains("fail")) || argv[2].starts_with("test -d"));
        let user = spec.process.user.unwrap();
        self.0.lock().unwrap().push(format!(
            "{user} {:?} {}",
            spec.process.cwd.unwrap(),
            argv[2..].join("|")
        ));
        let stdout = Captured { head: b"the log".to_vec(), total: 7, ..Captured::default() };
        Ok(ExecResult {
            exit: Exit::Code(code),
            stdout,
            stderr: Captured::default(),
            duration: Duration::ZERO,
        })
    }

    async fn read(&self, path: &str, _: u64) -> Result<Option<Vec<u8>>, SandboxError> {
        Ok((path == "/etc/passwd").then(|| b"root:x:0:0::/:\napp:x:77:78::/:\n".to_vec()))
    }
}

struct Bench {
    state: tempfile::TempDir,
    context: tempfile::TempDir,
    record: Record,
}

impl Bench {
    fn new() -> Bench {
        let bench = Bench {
            state: tempfile::tempdir().unwrap(),
            context: tempfile::tempdir().unwrap(),
            record: Record::default(),
        };
        fs::write(bench.context.path().join("a"), "A").unwrap();
        fs::write(bench.context.path().join("b"), "B").unwrap();
        bench
    }

    async fn build(&self, text: &str) -> Result<Built, SandboxError> {
        let store = LayerStore::open(self.state.path()).unwrap();
        let steps = steps(&parse(text.as_bytes()).unwrap(), Settings::default(), &BTreeMap::new()).unwrap();
        let context = Context::open(self.context.path(), "Dockerfile").unwrap();
        build(&Build {
            store: &store,
            runner: &Runner(self.record.clone()),
            base: Digest::of(b"base"),
            steps: &steps,
            context: Some(&context),
            file: "Dockerfile",
            log: None::<PathBuf>,
            deadline: Instant::now() + Duration::from_secs(60),
            progress: Arc::new(|_| ()),
        })
        .await
    }

    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.record.lock().unwrap())
    }
}

const TEXT: &str = "FROM x\nWORKDIR /app\nCOPY --chown=app --chmod=700 a b ./\nRUN make\nUSER app\nRUN test\nCOPY a /etc/conf\n";

#[tokio::test]
async fn build_groups_copies_with_the_command_after_them() {
    let bench = Bench::new();
    let built = bench.build(TEXT).await.unwrap();
    assert_eq!(built.layers.len(), 3);
    assert_eq!(
        bench.seen(),
        [
            "begin on 0",
            "0:0 \"/\" mkdir -p -- \"$1\"|sh|/app",
            "put /app folder [\"a\", \"b\"] (77, 78) None",
            "0:0 \"/app\" make",
            "begin on 1",
            "app \"/app\" test",
            "begin on 2",
            "0:0 \"/\" test -d \"$1\"|sh|/etc/conf",
            "put /etc/conf file A (0, 0) None",
        ]
    );
    // Again: nothing is done, and the digest is the same.
    let again = bench.build(TEXT).await.unwrap();
    assert_eq!((bench.seen().len(), &again.digest), (0, &built.digest));
    // The last step's file changes: only that step is done.
    fs::write(bench.context.path().join("b"), "changed").unwrap();
    let changed = bench.build(TEXT).await.unwrap();
    assert_ne!(changed.digest, built.digest);
    assert!(bench.seen().contains(&"0:0 \"/app\" make".to_owned()));
    let more = format!("{TEXT}RUN more\n");
    bench.build(&more).await.unwrap();
    let seen = bench.seen();
    assert_eq!((seen[0].as_str(), seen.last().unwrap().as_str()), ("begin on 2", "app \"/app\" more"));
}

#[tokio::test]
async fn build_failure_names_line_and_log_and_leaves_no_layer() {
    let bench = Bench::new();
    for _ in 0..2 {
        let error = bench.build("FROM x\n\nRUN fail here\n").await.unwrap_err();
        let SandboxError::Environment { message, log } = error else { panic!("{error}") };
        assert_eq!(message, "Dockerfile line 3: RUN fail here: ended with status 1");
        assert_eq!(log, "the log");
        assert_eq!(bench.seen().len(), 2, "it is tried again");
    }
    let error = bench.build("FROM x\nCOPY none /x\n").await.unwrap_err().to_string();
    assert!(error.contains("Dockerfile line 2: none is not in"), "{error}");
    let error = bench.build("FROM x\nCOPY --chown=ghost a /x\n").await.unwrap_err().to_string();
    assert!(error.contains("no user ghost inside"), "{error}");
    let error = bench.build("FROM x\nCOPY --chmod=u+x a /x\n").await.unwrap_err().to_string();
    assert!(error.contains("--chmod=u+x is not supported"), "{error}");
}
