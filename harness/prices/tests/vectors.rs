//! The worked examples beside the repository (`shared/data/agents/cost_vectors.json`), and what must hold for any usage of
//! any priced model.

#![allow(clippy::unwrap_used)]
#![expect(clippy::print_stderr, reason = "a test that cannot run here says so")]

use std::path::{Path, PathBuf};

use harness_core::{NanoUsd, Usage};
use harness_prices::{Call, PriceTable, Served, ServiceTier};
use proptest::prelude::*;

/// 2026-11-21 12:00 UTC, outside every daily window.
const NOON: u64 = 1_795_262_400_000;

/// A folder `shared/data` beside the repository, or beside the folder that holds this work tree.
fn shared(file: &str) -> Option<PathBuf> {
    let found = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("shared/data").join(file))
        .find(|path| path.is_file());
    if found.is_none() {
        eprintln!("skipped: shared/data/{file} is not beside this repository");
    }
    found
}

fn usage(buckets: [u64; 6]) -> Usage {
    let [uncached, read, write, write_1h, visible, reasoning] = buckets;
    Usage {
        uncached_input_tokens: Some(uncached),
        cache_read_tokens: Some(read),
        cache_write_tokens: Some(write),
        cache_write_1h_tokens: Some(write_1h),
        output_tokens: Some(visible.saturating_add(reasoning)),
        reasoning_tokens: Some(reasoning),
        ..Usage::default()
    }
}

#[test]
fn price_of_every_worked_example_is_exact_to_the_nano_dollar() {
    let Some(file) = shared("agents/cost_vectors.json") else { return };
    let vectors: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert!(vectors.len() >= 14);
    let table = PriceTable::bundled();
    for vector in vectors {
        let bucket = |name: &str| vector["canonical"][name].as_u64().unwrap();
        let call = Call {
            served: Served {
                provider: None,
                model: vector["model"].as_str().unwrap(),
                tier: ServiceTier::parse(vector["tier"].as_str().unwrap()),
                at_ms: NOON,
            },
            usage: usage(["uncached", "read", "w5", "w1h", "out", "reason"].map(bucket)),
            web_searches: 0,
        };
        let priced = table.price(&call);
        let expected = NanoUsd::from_usd(vector["expected_usd"].as_f64().unwrap());
        assert_eq!(priced.billed, expected, "{} {:?}", vector["name"], priced);
        assert_eq!(priced.warnings, [], "{}", vector["name"]);
    }
}

#[test]
fn version_of_the_bundled_table_is_the_one_that_is_built() {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
    let lock: toml::Table = toml::from_str(&std::fs::read_to_string(lock).unwrap()).unwrap();
    let packages = lock["package"].as_array().unwrap();
    let built = packages.iter().find(|package| package["name"].as_str() == Some("genai-prices")).unwrap();
    let listed = PriceTable::bundled().listed(Some("openai"), "gpt-5", NOON).unwrap().source;
    assert_eq!(
        listed.table,
        format!("genai-prices {}", built["version"].as_str().unwrap()),
        "set VERSION and DATE in src/bundled.rs"
    );
}

fn models() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "openai/gpt-6-sol",
        "anthropic/claude-haiku-5-5",
        "anthropic/claude-sonnet-4-5",
        "google/gemini-2.5-pro",
        "dashscope/qwen3-coder-plus",
        "deepseek/deepseek-flash",
    ])
}

fn cost(model: &str, buckets: [u64; 6]) -> NanoUsd {
    let served = Served { provider: None, model, tier: ServiceTier::Standard, at_ms: NOON };
    let priced = PriceTable::bundled().price(&Call { served, usage: usage(buckets), web_searches: 0 });
    priced.billed.expect("each of these models has a price")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn price_never_falls_when_a_bucket_grows(
        model in models(), n in proptest::array::uniform6(0..600_000u64), which in 0..6_usize, more in 0..600_000u64,
    ) {
        let mut grown = n;
        grown[which] += more;
        prop_assert!(cost(model, grown) >= cost(model, n));
    }

    #[test]
    fn price_of_absurd_counts_saturates(model in models(), n in any::<[u64; 6]>()) {
        let most = cost(model, [u64::MAX; 6]);
        prop_assert!(cost(model, n) <= most);
        prop_assert_eq!(most, NanoUsd(i64::MAX));
    }

    #[test]
    fn price_file_reader_never_panics(text in "\\PC{0,200}") {
        let _ = PriceTable::bundled().with_overrides(&text, "fuzz");
        let _ = PriceTable::bundled().with_overrides(&format!("source = \"a\"\ndate = \"2026-01-01\"\n{text}"), "fuzz");
    }
}
