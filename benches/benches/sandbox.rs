//! Native sandboxes as trials use them: a whole cycle, an exec in a running one, one stacked on a large change. The baseline is a
//! direct spawn of the same program from this process. The promises are ratios of these: the program `ratios` checks them.

use std::process::Command;
use std::sync::Arc;

use benches::native::{Bench, assert_isolated, run_true};
use benches::root;
use criterion::{Criterion, criterion_group, criterion_main};
use harness_sandbox::RootFs;

fn native(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be started");
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let unpacked = root::small(&folder.path().join("root")).expect("a small root can be put together");
    let program = unpacked.join("bin/true");
    for (name, rootfs) in [("unpacked", RootFs::Dir(unpacked)), ("host", RootFs::Host)] {
        let state = folder.path().join(name);
        let opened = runtime.block_on(Bench::open(&state, rootfs));
        let bench = Arc::new(opened.expect("this machine has a native sandbox: see `harness doctor`"));
        let mut group = criterion.benchmark_group(name);
        group.sample_size(20);
        let standing = runtime.block_on(async {
            let standing = bench.start(None).await.expect("a sandbox starts");
            assert_isolated(&*standing, &state).await.expect("it lives");
            standing
        });
        group.bench_function("spawn", |bencher| {
            bencher.iter(|| assert!(Command::new(&program).status().expect("there is a true").success()));
        });
        // Each on a worker of the runtime, where trials run.
        group.bench_function("cycle", |bencher| {
            bencher.iter(|| {
                let bench = bench.clone();
                let cycle = runtime.spawn(async move { bench.cycle().await.expect("a cycle succeeds") });
                runtime.block_on(cycle).expect("it does not panic");
            });
        });
        group.bench_function("exec", |bencher| {
            bencher.iter(|| {
                let sandbox = standing.clone();
                let exec = runtime.spawn(async move { run_true(&*sandbox).await.expect("it lives") });
                runtime.block_on(exec).expect("it does not panic");
            });
        });
        let changed = runtime.block_on(bench.changed()).expect("a state can be kept");
        group.bench_function("stacked on 200 MB", |bencher| {
            bencher.iter(|| {
                let (bench, changed) = (bench.clone(), changed.clone());
                let stacked = runtime.spawn(async move {
                    let sandbox = bench.start(Some(changed)).await.expect("a sandbox starts");
                    sandbox.destroy().await.expect("it goes");
                });
                runtime.block_on(stacked).expect("it does not panic");
            });
        });
        group.finish();
        runtime.block_on(standing.destroy()).expect("it goes");
    }
}

criterion_group!(benches, native);
criterion_main!(benches);
