//! Sandboxes in containers of an engine that runs already: Docker, or Podman by its compatible socket. Everything is asked of
//! the engine's API; no command-line program is called.

pub mod client;
pub mod images;
