//! Which command proves the work, and whether it passes.

use std::time::{Duration, Instant};

use harness_sandbox::{ExecSpec, Exit, OutputSpec, ProcessSpec, SandboxError};

use crate::tools::Desk;

/// What a test command gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tested {
    pub(crate) passed: bool,
    /// The end of what it wrote.
    pub(crate) output: String,
    pub(crate) took: Duration,
}

/// What lies in a working folder when a command tests it: the first that holds is taken. One script, one call.
const DETECT: &str = r#"
if [ -f Makefile ] && grep -qE '^(test|check)[[:space:]]*:' Makefile; then
    if grep -qE '^test[[:space:]]*:' Makefile; then echo 'make -s test'; else echo 'make -s check'; fi
elif [ -f Cargo.toml ]; then echo 'cargo test -q'
elif [ -f go.mod ]; then echo 'go test ./...'
elif [ -f package.json ] && grep -q '"test"[[:space:]]*:' package.json && ! grep -q 'no test specified' package.json; then echo 'npm test --silent'
elif [ -f package.json ] && [ -n "$(ls test/*.js tests/*.js test/*.mjs 2>/dev/null)" ]; then echo 'node --test'
elif [ -f pom.xml ]; then echo 'mvn -q test'
elif [ -f build.gradle ] || [ -f build.gradle.kts ]; then echo './gradlew test'
elif [ -f pytest.ini ] || [ -f conftest.py ] || grep -qs '^\[tool.pytest' pyproject.toml; then echo 'python3 -m pytest -q'
elif [ -n "$(ls test_*.py tests/test_*.py test/test_*.py 2>/dev/null)" ]; then
    if python3 -c 'import pytest' 2>/dev/null; then echo 'python3 -m pytest -q'; else echo 'python3 -m unittest -q'; fi
elif [ -f tests/run.sh ]; then echo 'sh tests/run.sh'
elif [ -f check.sh ]; then echo 'sh check.sh'
elif [ -f check.py ]; then echo 'python3 check.py'
fi
"#;

/// Looks for the project's own test command.
pub(crate) async fn detect(desk: &Desk<'_>) -> Result<Option<String>, SandboxError> {
    let result = desk.script(DETECT, &[], None, 4096).await?;
    let command = result.stdout.text().trim().to_owned();
    Ok((result.exit.success() && !command.is_empty()).then_some(command))
}

/// Runs the command in a process of its own, so that nothing that the model did to its shell plays a part.
pub(crate) async fn test(desk: &Desk<'_>, command: &str) -> Result<Tested, SandboxError> {
    let spec = &desk.spec;
    let cap = spec.settings.output_cap;
    let process = ProcessSpec {
        env: spec.env.clone(),
        cwd: Some(spec.workdir.to_owned()),
        user: spec.user.map(str::to_owned),
        deadline: Some(desk.within(spec.settings.test_timeout)),
        grace: Duration::ZERO,
        ..ProcessSpec::shell(&format!("exec 2>&1\n{command}"))
    };
    let output = OutputSpec { head: cap / 4, tail: cap / 2, ..OutputSpec::default() };
    let began = Instant::now();
    let result = spec
        .sandbox
        .exec(ExecSpec { stdout: output.clone(), stderr: output, ..ExecSpec::new(process) })
        .await?;
    let mut text = result.stdout.text();
    match result.exit {
        Exit::Code(status) => text.push_str(&format!("\n[exit status {status}]")),
        other => text.push_str(&format!("\n[{other:?}]")),
    }
    Ok(Tested { passed: result.exit.success(), output: text, took: began.elapsed() })
}
