//! What a step costs beside the model: printed, and bounded loosely, because other tests run at the same time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use harness_core::AgentExit;

use crate::support::{Piece, Played, run, sandbox};

fn script(steps: usize) -> String {
    let step = "[[turn]]\nsay = \"I look.\"\nrun = \"true\"\nusage = { input = 10, output = 10 }\n";
    format!("{}[[turn]]\nfinish = \"x\"\nusage = {{ input = 10, output = 10 }}\n", step.repeat(steps))
}

fn cpu() -> Duration {
    let usage = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = usage.rsplit(')').next().unwrap().split_whitespace().collect();
    Duration::from_millis((fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()) * 10)
}

fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// Loops are noticed, and a step that repeats is one: the same command again and again is what this measures.
fn settings() -> [(&'static str, serde_json::Value); 1] {
    [("max_steps", serde_json::json!(100_000))]
}

#[test]
fn overhead_of_a_step_is_small() {
    run(async {
        let Some(sandbox) = sandbox("overhead_of_a_step").await else { return };
        let steps = 7;
        let settings = settings();
        let mut took = Vec::new();
        let before = cpu();
        let rounds = 15;
        for _ in 0..rounds {
            let piece = Piece { settings: &settings, ..Piece::new(&*sandbox, Played::new(&script(steps))) };
            let began = Instant::now();
            assert_eq!(piece.work().await.report().exit, AgentExit::Finished);
            took.push(began.elapsed() / (steps as u32 + 1));
        }
        took.sort();
        let spent = (cpu() - before) / (rounds * (steps as u32 + 1));
        eprintln!(
            "a step: {:.2} ms wall (median of {rounds} runs of {}), {:.2} ms CPU, the player's share included",
            took[rounds as usize / 2].as_secs_f64() * 1e3,
            steps + 1,
            spent.as_secs_f64() * 1e3
        );
        assert!(took[rounds as usize / 2] < Duration::from_millis(50));
    });
}

#[test]
fn a_hundred_at_once_take_their_steps_side_by_side() {
    run(async {
        let mut sandboxes = Vec::new();
        for _ in 0..100 {
            let Some(sandbox) = sandbox("a_hundred_at_once").await else { return };
            sandboxes.push(sandbox);
        }
        let settings = settings();
        let before = resident_mb();
        let began = Instant::now();
        let work: Vec<_> = sandboxes
            .iter()
            .map(|sandbox| {
                let played = Played::slow(&script(7), Duration::from_secs(1));
                Piece { settings: &settings, ..Piece::new(&**sandbox, played as Arc<_>) }.work()
            })
            .collect();
        let outcomes = futures_join(work).await;
        let steps: u64 = outcomes.iter().map(|outcome| outcome.report().steps).sum();
        let rate = steps as f64 / began.elapsed().as_secs_f64();
        eprintln!("100 at once: {rate:.0} steps/s, {} MB resident ({} MB before)", resident_mb(), before);
        assert_eq!(steps, 800);
        assert!(rate > 40.0, "{rate}");
        assert!(resident_mb() < 400);
    });
}

/// Waits for all of them on one task, as a scheduler's own would be.
async fn futures_join<T>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut pinned: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut done: Vec<Option<T>> = pinned.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        let mut waits = false;
        for (future, slot) in pinned.iter_mut().zip(&mut done) {
            if slot.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *slot = Some(value),
                    std::task::Poll::Pending => waits = true,
                }
            }
        }
        if waits { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    done.into_iter().flatten().collect()
}
