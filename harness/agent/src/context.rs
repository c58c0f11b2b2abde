//! How full the model's window is, learned from what its provider counts.

use harness_core::Usage;

/// Bytes of a request for one token, where nothing has been learned yet.
const BYTES_PER_TOKEN: f64 = 3.3;
/// Kept free beside the answer.
const SPARE: u64 = 500;

/// The window of one model.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    tokens: u64,
    at: u64,
    max_output: u64,
    bytes_per_token: f64,
}

impl Window {
    pub(crate) fn new(tokens: u64, at: u64, max_output: u64) -> Window {
        Window { tokens, at, max_output, bytes_per_token: BYTES_PER_TOKEN }
    }

    /// What a request of so many bytes has in tokens.
    pub(crate) fn estimate(&self, bytes: usize) -> u64 {
        (bytes as f64 / self.bytes_per_token) as u64
    }

    /// Learns from what a provider counted. Scripts and careless servers count anything: absurd ratios are not believed.
    pub(crate) fn learn(&mut self, bytes: usize, usage: &Usage) {
        let Some(uncached) = usage.uncached_input_tokens else { return };
        let cached = [usage.cache_read_tokens, usage.cache_write_tokens, usage.cache_write_1h_tokens];
        let input = cached.into_iter().flatten().fold(uncached, u64::saturating_add);
        if input > 200 {
            self.bytes_per_token = (bytes as f64 / input as f64).clamp(1.5, 6.0);
        }
    }

    /// Most tokens of a request that leave room for its answer.
    fn most(&self) -> u64 {
        self.tokens.saturating_sub(self.max_output + SPARE).max(self.tokens / 4)
    }

    /// Whether something should go before a request of so many bytes.
    pub(crate) fn is_filling(&self, bytes: usize) -> bool {
        self.estimate(bytes) > (self.tokens * self.at / 100).min(self.most())
    }

    /// Whether a request of so many bytes cannot fit.
    pub(crate) fn is_full(&self, bytes: usize) -> bool {
        self.estimate(bytes) > self.most()
    }

    /// A provider said that a request of so many bytes does not fit: it is smaller than we thought.
    pub(crate) fn overflowed(&mut self, bytes: usize) {
        let real = self.estimate(bytes);
        self.tokens = self.tokens.min(real.saturating_mul(9) / 10 + self.max_output).max(1000);
        self.max_output = self.max_output.min(self.tokens / 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_learns_how_many_bytes_a_token_has() {
        let mut window = Window::new(100_000, 80, 10_000);
        assert!(!window.is_filling(200_000));
        window.learn(
            200_000,
            &Usage {
                uncached_input_tokens: Some(90_000),
                cache_read_tokens: Some(10_000),
                ..Usage::default()
            },
        );
        assert!(window.is_filling(200_000) && window.is_full(200_000));
        window.learn(200_000, &Usage { uncached_input_tokens: Some(5), ..Usage::default() });
        assert!(window.is_full(200_000), "a server that counts nonsense is not believed");
    }

    #[test]
    fn overflowed_makes_the_window_smaller_each_time() {
        let mut window = Window::new(1_000_000, 80, 10_000);
        let bytes = 330_000;
        assert!(!window.is_filling(bytes));
        window.overflowed(bytes);
        assert!(window.is_filling(bytes));
    }
}
