//! What the guest program (PID 1 of every sandbox) and the host agree on: frames over a unix socket, what a sandbox is made
//! of, and the stream in which files travel. Standard library and libc only; the program itself is `main.rs`.

pub mod changes;
pub mod glob;
pub mod message;
pub mod recipe;
pub mod socket;
pub mod sys;
pub mod tree;
pub mod wire;
