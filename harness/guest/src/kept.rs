//! What survives a host in a sandbox that a successor may take over: commands that it asked to be kept, with the ends that their
//! output is read from and how they ended, and listeners, so that who connects meanwhile waits instead of being refused.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;

use harness_guest::message::Ended;

/// Kept commands at a time, ended ones included.
const MOST: usize = 64;
/// Kept listeners at a time; of more, each is the host's alone.
const MOST_LISTENERS: usize = 16;

/// A command that survives its host.
pub(crate) struct Command {
    /// What its stdout and stderr are read from.
    pub(crate) ends: Vec<OwnedFd>,
    /// How it ended, until its host has written that down.
    pub(crate) ended: Option<Ended>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Kept {
    commands: HashMap<u64, Command>,
    /// `None` while listeners are the host's alone.
    listeners: Option<Vec<TcpListener>>,
}

impl Kept {
    /// The command of this name.
    pub(crate) fn get(&self, name: u64) -> Option<&Command> {
        self.commands.get(&name)
    }

    /// Keeps one that is about to be started; false when it cannot be kept.
    pub(crate) fn add(&mut self, name: u64, ends: Vec<OwnedFd>) -> bool {
        let possible = ends.len() == 2 && self.commands.len() < MOST;
        if possible {
            self.commands.insert(name, Command { ends, ended: None });
        }
        possible
    }

    /// Lets go of one.
    pub(crate) fn forget(&mut self, name: Option<u64>) {
        if let Some(name) = name {
            self.commands.remove(&name);
        }
    }

    /// Remembers how one ended.
    pub(crate) fn ended(&mut self, name: Option<u64>, how: Ended) {
        if let Some(command) = name.and_then(|name| self.commands.get_mut(&name)) {
            command.ended = Some(how);
        }
    }

    /// Whether listeners that are made from now on are kept; those that were are closed otherwise.
    pub(crate) fn listeners(&mut self, keep: bool) {
        if !keep {
            self.listeners = None;
        } else if self.listeners.is_none() {
            self.listeners = Some(Vec::new());
        }
    }

    /// A listener on the loopback: the kept one of this port, or a new one.
    pub(crate) fn listener(&mut self, port: u16) -> io::Result<OwnedFd> {
        let of_port = |listener: &&TcpListener| listener.local_addr().is_ok_and(|at| at.port() == port);
        if let Some(kept) = self.listeners.iter().flatten().find(of_port).filter(|_| port != 0) {
            return Ok(kept.try_clone()?.into());
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        if let Some(kept) = self.listeners.as_mut().filter(|kept| kept.len() < MOST_LISTENERS) {
            kept.push(listener.try_clone()?);
        }
        Ok(listener.into())
    }
}
