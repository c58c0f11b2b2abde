//! Case → saboteur.

use std::time::Duration;

use super::FileRead;
use super::Sabotage::{self, *};
use super::{host, tricks};
use crate::{Captured, ChangeKind, ExecResult, ExecSpec, Exit, ProcessSpec, SandboxError, Source, Stdin};

/// A process that lives where none should.
const HEART: &str = "(while :; do echo >> /tmp/beat; sleep 0.1; done) > /dev/null 2>&1 &";

fn same(_spec: &mut ProcessSpec) {}

/// For each case the sabotage that it has to catch.
pub const TABLE: &[(&str, Sabotage)] = &[
    ("exec-status", Spawn(same, |process| tricks::exit(process, |exit| exit.map(|_| Exit::Code(0))))),
    ("exec-signal", Spawn(same, |process| tricks::exit(process, signal_as_code))),
    ("exec-argv", Spawn(lossy, tricks::as_it_is)),
    (
        "exec-env",
        Spawn(
            |spec| {
                spec.env.insert("LEAKED".into(), "secret".into());
            },
            tricks::as_it_is,
        ),
    ),
    ("exec-user", Spawn(|spec| spec.user = None, tricks::as_it_is)),
    ("exec-user-unknown", Retry(|spec| spec.user = None)),
    ("exec-workdir", Spawn(|spec| spec.cwd = None, tricks::as_it_is)),
    ("exec-workdir-missing", Retry(|spec| spec.cwd = None)),
    ("exec-program-missing", Retry(|spec| spec.argv = ProcessSpec::shell("exit 127").argv)),
    (
        "exec-stdin",
        Exec(|spec| {
            if let Stdin::Bytes(bytes) = &mut spec.stdin {
                bytes.pop();
            }
        }),
    ),
    ("exec-stdin-empty", Spawn(|spec| spec.stdin = true, tricks::endless_input)),
    ("exec-stdin-unread", Answer(unread_is_error)),
    ("exec-session", Wrap("\"$@\"; exit $?")),
    ("exec-descriptors", Wrap("exec 9< /dev/null; exec \"$@\"")),
    ("exec-signals-default", Wrap("trap '' USR1; exec \"$@\"")),
    ("exec-parallel", Serialise),
    ("output-separate", Spawn(same, tricks::merge)),
    ("output-bytes", Spawn(same, |process| tricks::filter(process, |_, byte| byte != 0))),
    ("output-streamed", Spawn(same, |process| tricks::hoard(process, true))),
    ("output-backpressure", Spawn(same, |process| tricks::hoard(process, false))),
    ("output-drained", Spawn(same, |process| tricks::filter(process, |at, _| at < 64 << 20))),
    ("output-file", Exec(|spec| spec.stdout.file_limit = u64::MAX)),
    ("output-held-open", Spawn(same, |process| tricks::end_of_stream(process, false))),
    ("output-closed-early", Spawn(same, |process| tricks::end_of_stream(process, true))),
    ("deadline-reported", Spawn(same, |process| tricks::exit(process, timeout_as_code))),
    ("deadline-grace", Spawn(|spec| spec.grace = Duration::ZERO, tricks::as_it_is)),
    ("deadline-term-ignored", Spawn(|spec| spec.grace = Duration::from_secs(15), tricks::as_it_is)),
    ("deadline-tree", AfterTimeout(HEART)),
    ("deadline-held-open", Spawn(same, tricks::late)),
    ("deadline-no-late-write", AfterTimeout("echo late > /tmp/late")),
    ("deadline-spares-services", KillBackground),
    ("process-kill", Spawn(same, tricks::no_kill)),
    ("process-drop", Spawn(same, tricks::no_drop)),
    ("process-cancel", DetachExec),
    ("process-background", KillBackground),
    ("kill-all", AfterKillAll(HEART)),
    ("kill-all-running", Spawn(same, |process| tricks::exit(process, |exit| exit.map(|_| Exit::Code(0))))),
    ("kill-all-frozen", AfterKillAll(HEART)),
    ("kill-all-fork-bomb", AfterKillAll(HEART)),
    ("freeze", IgnoreFreeze),
    ("reaping", AfterExec("sh -c 'sleep 0 & exec sleep 30' > /dev/null 2>&1 &")),
    ("pty", Spawn(|spec| spec.pty = None, tricks::as_it_is)),
    ("pty-bytes", Spawn(same, |process| tricks::filter(process, |at, byte| at > 8 || byte > 2))),
    ("pty-resize", Spawn(same, tricks::no_resize)),
    ("pty-input", Spawn(|spec| spec.stdin = false, tricks::as_it_is)),
    (
        "put-file",
        Put(|source, _| {
            if let Source::Bytes(bytes) = source {
                bytes.pop();
            }
        }),
    ),
    ("put-owner", Put(|_, options| options.owner = (0, 0))),
    ("put-replaces", PutKeeps),
    ("put-folder", PutCopy(&["-a"], host::plain_modes)),
    ("put-links", PutCopy(&["-rL"], host::nothing)),
    ("put-names", PutCopy(&["-a"], host::lossy_names)),
    ("put-exclude", Put(|_, options| options.exclude.clear())),
    ("put-hard-links", PutCopy(&["-a"], host::no_hard_links)),
    ("put-sparse", PutCopy(&["-a"], host::fill)),
    ("put-inside-links", PutThroughLinks),
    ("put-not-a-file", PutNeverFails),
    (
        "read",
        Read(|_, read| {
            read.map(|found| {
                found.map(|mut bytes| {
                    bytes.pop();
                    bytes
                })
            })
        }),
    ),
    ("read-none", Read(|_, read| read.map(|found| Some(found.unwrap_or_default())))),
    ("read-limit", Read(cut)),
    ("read-limit-huge", Read(cut)),
    ("get-file", AfterGet(host::chop)),
    ("get-folder", AfterGet(host::no_empty_folders)),
    ("get-links", AfterGet(host::follow_links)),
    ("get-names", AfterGet(host::lossy_names)),
    ("get-hard-links", AfterGet(host::no_hard_links)),
    ("get-sparse", AfterGet(host::fill)),
    (
        "get-limit",
        Get(|options| {
            options.limit = u64::MAX;
            options.max_entries = u64::MAX;
        }),
    ),
    ("get-exclude", Get(|options| options.exclude.clear())),
    ("get-special", AfterGet(host::pipe_as_file)),
    ("get-target-exists", BeforeGet(host::clear)),
    ("get-missing", GetMissing),
    (
        "changes-none",
        Changes(|mut changes| {
            changes.push(crate::Change {
                path: b"/phantom".to_vec(),
                kind: ChangeKind::Added,
                file_type: None,
                size: 0,
            });
            changes
        }),
    ),
    (
        "changes-kinds",
        Changes(|mut changes| {
            changes.retain(|change| change.kind != ChangeKind::Deleted);
            changes
        }),
    ),
    ("changes-limit", Changes(|changes| changes)),
    ("snapshot-state", Create(|spec| spec.snapshot = None)),
    ("snapshot-apart", AfterRestore("echo new > /srv/d/c")),
    ("snapshot-stable", AfterRestore(HEART)),
    ("snapshot-outlives", SnapshotDies),
    ("snapshot-again", AfterRestore("echo new > /srv/d/e")),
    ("snapshot-ends", Answer(never_fails)),
    ("usage", Usage(|usage| *usage = Default::default())),
    ("usage-disk", Usage(|usage| usage.disk_bytes = Some(0))),
    ("limit-cpus", Create(|spec| spec.limits.milli_cpus = None)),
    ("limit-memory", Create(|spec| spec.limits.memory_bytes = None)),
    ("limit-memory-child", Create(|spec| spec.limits.memory_bytes = None)),
    ("limit-pids", Create(|spec| spec.limits.pids = None)),
    ("limit-disk", Create(|spec| spec.limits.disk_bytes = None)),
    ("network-none", ReachHost),
    ("network-loopback", Answer(says_nothing)),
    ("network-gateway", ListenOnHost),
    ("network-gateway-closed", ReachHost),
    ("network-listen-refused", ListenOnHost),
    ("network-apart", ListenOnHost),
    ("network-open", OpenBadly),
    (
        "network-record",
        Connections(|all| {
            all.connections.pop();
        }),
    ),
    ("network-switch", IgnoreNetwork),
    ("destroy-twice", DestroyOnce),
    ("destroyed-is-lost", Read(|_, read| Ok(read.unwrap_or_default()))),
    (
        "destroy-running",
        Spawn(same, |process| tricks::exit(process, |exit| Ok(exit.unwrap_or(Exit::Code(0))))),
    ),
    (
        "lost-is-no-status",
        Spawn(same, |process| tricks::exit(process, |exit| Ok(exit.unwrap_or(Exit::Code(0))))),
    ),
    ("drop-destroys", LeakDropped),
    ("create-cancelled", DetachCreate),
    ("churn", LeakDestroyed),
    ("sandboxes-apart", ShareSandbox),
    ("reap-spares-living", ReapLiving),
    ("reap-run", ReapUnasked),
    ("reap-orphans", ReapNothing),
    ("pid1-unkillable", DestroyAfterExec),
    ("pid1-unreadable", Spawn(own_instead, tricks::as_it_is)),
    ("host-unwritable", WriteOnHost),
    ("host-unreadable", Answer(says_canary)),
    ("mount-read-only", Create(|spec| spec.mounts.clear())),
    ("view-private", ViewIsSandbox),
    ("view-unreachable", ViewIsSandbox),
    ("view-shared", ViewIsFresh),
    ("view-processes", ViewIsFresh),
    ("view-restore", View(|spec| spec.restore.clear())),
    ("view-hide", View(|spec| spec.hide.clear())),
    ("view-files", ViewIsSandbox),
    ("view-kill-all", AfterKillAll(HEART)),
    ("view-deadline", AfterTimeout(HEART)),
];

type Ended = Result<Exit, SandboxError>;
type Answered = Result<ExecResult, SandboxError>;

fn signal_as_code(exit: Ended) -> Ended {
    exit.map(|exit| match exit {
        Exit::Signal(signal) => Exit::Code(128 + signal),
        other => other,
    })
}

fn timeout_as_code(exit: Ended) -> Ended {
    exit.map(|exit| if exit == Exit::TimedOut { Exit::Code(124) } else { exit })
}

fn lossy(spec: &mut ProcessSpec) {
    for arg in &mut spec.argv {
        *arg = String::from_utf8_lossy(arg).into_owned().into_bytes();
    }
}

fn own_instead(spec: &mut ProcessSpec) {
    for arg in &mut spec.argv {
        *arg = String::from_utf8_lossy(arg).replace("/proc/1/", "/proc/self/").into_bytes();
    }
}

fn unread_is_error(spec: &ExecSpec, answer: Answered) -> Answered {
    match &spec.stdin {
        Stdin::Bytes(bytes) if bytes.len() > 1 << 20 => {
            Err(SandboxError::host("feed a command's input", std::io::ErrorKind::BrokenPipe.into()))
        }
        _ => answer,
    }
}

fn never_fails(_spec: &ExecSpec, answer: Answered) -> Answered {
    let fine = ExecResult {
        exit: Exit::Code(0),
        stdout: Captured::default(),
        stderr: Captured::default(),
        duration: Duration::ZERO,
    };
    Ok(answer.unwrap_or(fine))
}

fn says_nothing(_spec: &ExecSpec, answer: Answered) -> Answered {
    answer.map(|result| ExecResult { stdout: Captured::default(), ..result })
}

fn says_canary(_spec: &ExecSpec, answer: Answered) -> Answered {
    answer.map(|mut result| {
        result.stdout.head = b"canary".to_vec();
        result
    })
}

fn cut(limit: u64, read: FileRead) -> FileRead {
    match read {
        Err(SandboxError::TooLarge { .. }) => Ok(Some(vec![7; usize::try_from(limit).unwrap_or(0)])),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::TABLE;
    use crate::conformance::cases;

    #[test]
    fn every_case_has_one_saboteur_and_every_saboteur_a_case() {
        let cases: Vec<&str> = cases().map(|case| case.name).collect();
        let table: Vec<&str> = TABLE.iter().map(|(name, _)| *name).collect();
        assert_eq!(table, cases);
        let mut names = cases.clone();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), cases.len(), "two cases with one name");
    }
}
