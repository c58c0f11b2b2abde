//! Runs N trials on the memory sandbox in this process and prints what that cost as one line of JSON.
//! `trials [N] [AGENT] [JOBS]`; 10,000 trials of the oracle, two at once, by default.
#![expect(clippy::print_stdout, reason = "a program whose output is its purpose")]

use benches::counters::{cpu, peak_memory};
use benches::runner::Bench;

fn main() {
    let mut args = std::env::args().skip(1);
    let trials: usize = args.next().map_or(10_000, |text| text.parse().expect("a number of trials"));
    let agent = args.next().unwrap_or_else(|| "oracle".into());
    let jobs: usize = args.next().map_or(2, |text| text.parse().expect("a number of jobs"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be started");
    let mut bench = Bench::new(&agent);
    let (wall, before) = (std::time::Instant::now(), cpu());
    let run = runtime.block_on(bench.run(trials, jobs));
    let (wall, cpu) = (wall.elapsed(), cpu() - before);
    let journal = std::fs::metadata(run.join("journal.jsonl")).map_or(0, |about| about.len());
    let memory = peak_memory().map_or("null".into(), |bytes| bytes.to_string());
    println!(
        "{{\"trials\":{trials},\"agent\":\"{agent}\",\"jobs\":{jobs},\"cpu_us_per_trial\":{:.0},\"wall_us_per_trial\":{:.0},\"peak_memory_bytes\":{memory},\"journal_bytes\":{journal}}}",
        cpu.as_secs_f64() * 1e6 / trials as f64,
        wall.as_secs_f64() * 1e6 / trials as f64,
    );
}
