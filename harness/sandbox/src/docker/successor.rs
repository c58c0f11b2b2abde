//! Taking over a container whose harness is gone: its PID 1 waits at its door for whoever knows the secret.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use bollard::models::ContainerInspectResponse;
use harness_guest::message::{Request, SECRET_BYTES};
use harness_guest::socket;
use tokio::time::timeout;

use super::running::Running;
use super::start::{Met, Starter};
use super::{ImageHandle, NAME, client, owner};
use crate::{SandboxError, SandboxSpec};

/// How long PID 1 may take to let us in.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a successor needs. As text it holds a secret.
pub(crate) struct Ticket {
    /// The container's.
    pub(crate) name: String,
    pub(crate) secret: [u8; SECRET_BYTES],
    /// Port on which its open network is served inside.
    pub(crate) proxy: Option<u16>,
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.name, self.proxy.unwrap_or(0))?;
        self.secret.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Ticket {
    /// From its text.
    pub(crate) fn parse(text: &str) -> Result<Ticket, SandboxError> {
        let parsed = || {
            let mut fields = text.split(' ');
            let name = fields.next().filter(|name| !name.is_empty())?.to_owned();
            let port: u16 = fields.next()?.parse().ok()?;
            let hex = fields.next().filter(|hex| hex.is_ascii() && hex.len() == SECRET_BYTES * 2)?;
            let mut secret = [0; SECRET_BYTES];
            for (at, byte) in secret.iter_mut().enumerate() {
                *byte = u8::from_str_radix(hex.get(at * 2..at * 2 + 2)?, 16).ok()?;
            }
            fields.next().is_none().then_some(Ticket { name, secret, proxy: (port != 0).then_some(port) })
        };
        parsed().ok_or_else(|| lost("what was written down of its sandbox does not read"))
    }
}

fn lost(cause: impl Into<String>) -> SandboxError {
    SandboxError::Lost { cause: cause.into() }
}

impl Starter {
    /// Connects to the PID 1 of a container that was left alone.
    pub(crate) async fn take_over(
        &self,
        spec: &SandboxSpec,
        handle: &ImageHandle,
        ticket: &Ticket,
    ) -> Result<Running, SandboxError> {
        let name = ticket.name.clone();
        let container = self.look_at(&name).await?;
        if !belongs(&container, spec) {
            return Err(lost(format!("the container {name} is not this trial's")));
        }
        if container.state.as_ref().and_then(|state| state.running) != Some(true) {
            return Err(lost(format!("the container {name} has ended")));
        }
        let refused = |error: io::Error| lost(format!("the container {name} cannot be reached: {error}"));
        let door = self.doors.found(&name).map_err(refused)?;
        let stream = door.knock().map_err(refused)?;
        let request = Request::Secret { secret: ticket.secret };
        socket::send(stream.as_fd(), &request.encode(), &[]).map_err(refused)?;
        door.inherit(&owner::Owner::this().to_string()).map_err(refused)?;
        let met = Met { name: name.clone(), stream, container, secret: ticket.secret, door };
        match timeout(PATIENCE, self.connect(spec, handle, met)).await {
            Ok(Ok(running)) => Ok(running),
            Ok(Err(SandboxError::Lost { .. })) => {
                Err(lost(format!("PID 1 of the container {name} refused the secret, or ended")))
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(lost(format!("PID 1 of the container {name} did not answer"))),
        }
    }

    /// Whether there is such a container, and it is this trial's.
    pub(crate) async fn is_of(&self, spec: &SandboxSpec, name: &str) -> bool {
        self.look_at(name).await.is_ok_and(|container| belongs(&container, spec))
    }

    async fn look_at(&self, name: &str) -> Result<ContainerInspectResponse, SandboxError> {
        let client = &self.engine.client;
        let found = client.ask(client.short().inspect_container(name, None)).await;
        found.map_err(|error| match client::status(&error) {
            Some(404) => lost(format!("the container {name} is gone")),
            _ => client::failed(format!("look at the container {name} on {NAME}"), error),
        })
    }
}

/// What names a container may be wrong or forged: only one of the same trial is touched.
fn belongs(container: &ContainerInspectResponse, spec: &SandboxSpec) -> bool {
    let labels = container.config.as_ref().and_then(|config| config.labels.as_ref());
    let is = |label: &str, value: &str| {
        labels.and_then(|labels| labels.get(label)).is_some_and(|found| found == value)
    };
    is(owner::RUN, &spec.labels.run)
        && is(owner::TRIAL, &spec.labels.trial)
        && is(owner::ROLE, &spec.labels.role)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_ticket_reads_as_it_was_written_and_others_are_refused() {
        let ticket = Ticket { name: "harness-1".into(), secret: [0xa5; SECRET_BYTES], proxy: Some(81) };
        let text = ticket.to_string();
        let read = Ticket::parse(&text).unwrap();
        assert_eq!((read.name.as_str(), read.secret, read.proxy), ("harness-1", ticket.secret, Some(81)));
        for bad in [
            "",
            " ",
            "harness-1 0",
            "harness-1 0 ff",
            &text.replace("81", "x"),
            &format!("{text} "),
            &text[1..text.len() - 1],
        ] {
            assert!(Ticket::parse(bad).is_err(), "{bad}");
        }
    }
}
