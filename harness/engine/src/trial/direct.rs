//! Calls past the gateway: a closed network refuses them without anybody watching, but its own counters say that there were some.

use std::time::Duration;

use harness_core::{NetworkMode, Severity};
use harness_sandbox::{ExecSpec, OutputSpec, ProcessSpec, Sandbox};

use super::attempt::Attempt;

/// How long looking may take: it is a nicety.
const PATIENCE: Duration = Duration::from_secs(5);

impl Attempt {
    /// How often something inside found no way to where it wanted, so far; `None` where that cannot be seen.
    pub(super) async fn without_a_way(&self, sandbox: &dyn Sandbox, network: &NetworkMode) -> Option<u64> {
        if self.traffic.is_none() || !matches!(network, NetworkMode::None | NetworkMode::Gateway) {
            return None;
        }
        let process = ProcessSpec {
            user: Some("0".into()),
            cwd: Some("/".into()),
            deadline: Some(PATIENCE),
            ..ProcessSpec::new(["/bin/cat", "/proc/net/snmp", "/proc/net/snmp6"])
        };
        let stdout = OutputSpec { head: 64 << 10, tail: 0, ..OutputSpec::default() };
        let looked = sandbox.exec(ExecSpec { stdout, ..ExecSpec::new(process) });
        let result = tokio::time::timeout(PATIENCE * 2, looked).await.ok()?.ok()?;
        count(&result.stdout.text())
    }

    /// Notes what was tried since: in a closed network nothing of it can have arrived.
    pub(super) async fn note_direct_calls(
        &mut self,
        sandbox: &dyn Sandbox,
        network: &NetworkMode,
        before: Option<u64>,
    ) {
        let Some(before) = before else { return };
        let Some(tried) = self.without_a_way(sandbox, network).await.map(|now| now.saturating_sub(before))
        else {
            return;
        };
        if tried > 0 {
            let detail =
                format!("{tried} calls past the gateway were tried; the network is closed, and none arrived");
            self.note("direct_calls", Severity::Info, detail);
        }
    }
}

/// The counters of both families.
fn count(text: &str) -> Option<u64> {
    let mut lines = text.lines();
    let names = lines.find(|line| line.starts_with("Ip: "))?;
    let values = lines.next()?;
    let at = names.split(' ').position(|name| name == "OutNoRoutes")?;
    let four: u64 = values.split(' ').nth(at)?.parse().ok()?;
    let six = text.lines().find_map(|line| line.strip_prefix("Ip6OutNoRoutes")?.trim().parse::<u64>().ok());
    Some(four.saturating_add(six.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    #[test]
    fn direct_calls_of_both_families_are_counted() {
        let text =
            "Ip: Forwarding DefaultTTL OutNoRoutes\nIp: 1 64 3\nTcp: a\nTcp: 1\nIp6OutNoRoutes   \t2\n";
        assert_eq!(super::count(text), Some(5));
        assert_eq!(super::count("Ip: OutNoRoutes\nIp: 7\n"), Some(7));
        assert_eq!(super::count("nothing"), None);
    }
}
