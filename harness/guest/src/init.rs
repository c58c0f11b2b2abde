//! PID 1: one thread, one loop. It reaps, starts commands, keeps deadlines, ends trees, and ends itself and with it the whole
//! sandbox when its host is gone. Nothing in it waits for what runs in the sandbox.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use harness_guest::message::{Ended, Failure, Reply, Request};
use harness_guest::recipe::Basis;
use harness_guest::socket::{self, Frame};
use harness_guest::sys;

use crate::arrive::Held;
use crate::door::{Behind, Door};
use crate::exec::{self, Surroundings};
use crate::files;
use crate::kept::Kept;
use crate::kill::{self, Reaped, Tree};
use crate::launch::{Launch, Stumble};
use crate::setup::exit;
use crate::view;

/// Between two looks at a tree that is being ended.
const SWEEP_MS: u64 = 5;
/// Longest report of a command that could not be started.
const REPORT_LIMIT: u64 = 4096;

/// Serves the control socket until the host closes it, which ends everything in the sandbox.
pub(crate) fn run(basis: &Basis, nproc: Option<u64>, control: OwnedFd, commands_groups: Vec<OwnedFd>) -> ! {
    serve(Init::new(basis, control, None, commands_groups).map(|init| Init { nproc, ..init }))
}

/// The same where a successor may take over: then the sandbox outlives its host for a while.
pub(crate) fn run_behind(basis: &Basis, control: OwnedFd, behind: Behind) -> ! {
    serve(Init::new(basis, control, Some(behind), Vec::new()))
}

fn serve(init: io::Result<Init<'_>>) -> ! {
    match init.and_then(|mut init| init.serve()) {
        Ok(()) => exit(0),
        Err(_) => exit(1),
    }
}

struct Init<'a> {
    basis: &'a Basis,
    nproc: Option<u64>,
    /// `None` between a host and its successor.
    control: Option<OwnedFd>,
    /// Where a successor may come from.
    door: Option<Door>,
    /// When nobody came any more.
    lonely_at: Option<u64>,
    /// The image's layers, where the host has none to give.
    held: Option<Held>,
    signals: OwnedFd,
    null: OwnedFd,
    terminals: OwnedFd,
    commands_groups: Vec<OwnedFd>,
    /// Frames that the host's socket had no room for, with how much of the first is gone.
    outbox: VecDeque<(Vec<u8>, usize, Vec<OwnedFd>)>,
    commands: HashMap<u32, Command>,
    views: HashMap<u32, OwnedFd>,
    building: Vec<Building>,
    /// Calls that wait until nothing but us is left.
    emptying: Vec<u32>,
    /// What survives a host.
    kept: Kept,
    /// The first number that no request has had, of any host.
    next_call: u32,
}

struct Command {
    tree: Tree,
    /// Until it is known whether it could be started.
    report: Option<OwnedFd>,
    /// As long.
    launch: Option<Box<Launch>>,
    master: Option<OwnedFd>,
    /// Its name, where it survives its host.
    kept: Option<u64>,
    state: State,
    deadline_ms: Option<u64>,
    /// On the monotonic clock.
    deadline: Option<u64>,
    grace_ms: u64,
}

/// A view that is being made.
struct Building {
    call: u32,
    view: u32,
    /// On which the process that makes it answers.
    socket: OwnedFd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    /// The deadline passed; KILL follows at this time.
    Ending(u64),
    /// The deadline and the grace passed.
    TimedOut,
    /// The host wants it gone. Its own exit was told already when `told`; what it started is still being ended.
    Killed {
        told: bool,
    },
}

impl<'a> Init<'a> {
    fn new(
        basis: &'a Basis,
        control: OwnedFd,
        behind: Option<Behind>,
        commands_groups: Vec<OwnedFd>,
    ) -> io::Result<Init<'a>> {
        // "Everything but PID 1" is everything that we may kill: elsewhere that would be the whole machine.
        // SAFETY: plain getpid.
        if unsafe { libc::getpid() } != 1 {
            return Err(io::Error::other("not PID 1 of a process namespace"));
        }
        let (door, held) = behind.map_or((None, None), |behind| (Some(behind.door), behind.held));
        let null = sys::open(c"/dev/null", libc::O_RDWR)?;
        // SAFETY: nothing owns 0, 1, 2 here; from now on they are harmless, and no descriptor that comes in gets their number.
        unsafe {
            for number in 0..3 {
                let door = door.as_ref().map(Door::listener);
                if null.as_raw_fd() != number && control.as_raw_fd() != number && door != Some(number) {
                    sys::check(libc::dup2(null.as_raw_fd(), number))?;
                }
            }
        }
        let null = above_streams(null)?;
        let control = above_streams(control)?;
        let terminals = above_streams(sys::open(c"/dev/pts", libc::O_PATH | libc::O_DIRECTORY)?)?;
        let signals = above_streams(child_signals()?)?;
        let commands_groups: Vec<OwnedFd> =
            commands_groups.into_iter().map(above_streams).collect::<io::Result<_>>()?;
        let mut kept =
            vec![null.as_raw_fd(), control.as_raw_fd(), terminals.as_raw_fd(), signals.as_raw_fd()];
        kept.extend(door.as_ref().map(Door::listener));
        kept.extend(held.iter().flat_map(Held::descriptors));
        kept.extend(commands_groups.iter().map(AsRawFd::as_raw_fd));
        kept.sort_unstable();
        let mut next = 3;
        for fd in kept {
            sys::close_range(next, fd - 1);
            next = fd + 1;
        }
        sys::close_range(next, i32::MAX);
        Ok(Init {
            basis,
            nproc: None,
            control: Some(control),
            door,
            lonely_at: None,
            held,
            signals,
            null,
            terminals,
            commands_groups,
            outbox: VecDeque::new(),
            commands: HashMap::new(),
            views: HashMap::new(),
            building: Vec::new(),
            emptying: Vec::new(),
            kept: Kept::default(),
            next_call: 1,
        })
    }

    fn serve(&mut self) -> io::Result<()> {
        self.reply(&Reply::Ready { next: self.next_call }, Vec::new())?;
        loop {
            let reporting: Vec<(u32, i32)> = self
                .commands
                .iter()
                .filter_map(|(call, command)| Some((*call, command.report.as_ref()?.as_raw_fd())))
                .collect();
            let room = if self.outbox.is_empty() { 0 } else { libc::POLLOUT };
            let mut polled = vec![
                libc::pollfd { fd: self.control_number(), events: libc::POLLIN | room, revents: 0 },
                libc::pollfd { fd: self.signals.as_raw_fd(), events: libc::POLLIN, revents: 0 },
            ];
            polled.extend(reporting.iter().map(|(_, fd)| libc::pollfd {
                fd: *fd,
                events: libc::POLLIN,
                revents: 0,
            }));
            polled.extend(self.building.iter().map(|building| libc::pollfd {
                fd: building.socket.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            }));
            let building = self.building.len();
            let door = self.door.as_ref().map(Door::descriptors).unwrap_or_default();
            polled.extend(door.iter().map(|fd| libc::pollfd { fd: *fd, events: libc::POLLIN, revents: 0 }));
            // SAFETY: the array and its length go together.
            let ready =
                unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, self.timeout_ms()) };
            if ready < 0 {
                let error = io::Error::last_os_error();
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                return Err(error);
            }
            // In this order: what could be started is told before what ended.
            for ((call, _), slot) in reporting.iter().zip(&polled[2..]) {
                if slot.revents != 0 {
                    self.take_report(*call)?;
                }
            }
            let answered: Vec<bool> =
                polled[2 + reporting.len()..][..building].iter().map(|slot| slot.revents != 0).collect();
            self.take_views(&answered)?;
            if polled[1].revents != 0 {
                self.drain_signals();
                self.reap()?;
            }
            if polled[0].revents & libc::POLLOUT != 0 {
                self.flush()?;
            }
            if polled[0].revents & (libc::POLLIN | libc::POLLHUP | libc::POLLERR) != 0 {
                let received = match &self.control {
                    Some(control) => socket::receive(control.as_fd()),
                    None => Ok(None),
                };
                match (received, &self.door) {
                    (Ok(Some(frame)), _) => self.handle(frame)?,
                    (Ok(None), None) => return Ok(()),
                    (Err(error), None) => return Err(error),
                    (_, Some(_)) => self.let_go(),
                }
            }
            let ready: Vec<bool> =
                polled[2 + reporting.len() + building..].iter().map(|slot| slot.revents != 0).collect();
            if let Some(successor) = self.door.as_mut().and_then(|door| door.look(&ready)) {
                self.let_go();
                self.end_what_is_not_kept();
                self.lonely_at = None;
                self.control = Some(successor);
                self.reply(&Reply::Ready { next: self.next_call }, Vec::new())?;
            }
            if self.lonely_at.is_some_and(|at| at <= sys::now_ms()) {
                return Ok(());
            }
            self.keep_deadlines()?;
        }
    }

    fn control_number(&self) -> i32 {
        // The kernel passes over -1.
        self.control.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    /// The host is gone, and a successor may come. What it was to be told is nobody's any more.
    fn let_go(&mut self) {
        let linger = self.door.as_ref().map_or(0, |door| door.linger_ms);
        self.lonely_at = Some(sys::now_ms().saturating_add(linger));
        self.control = None;
        self.outbox.clear();
    }

    /// Nobody waits any more for what the host before had started and did not ask to be kept.
    fn end_what_is_not_kept(&mut self) {
        for command in self.commands.values_mut().filter(|command| command.kept.is_none()) {
            command.state = State::Killed { told: matches!(command.state, State::Killed { told: true }) };
            kill::signal_tree(command.tree, libc::SIGKILL);
        }
    }

    /// A successor asks for a command that is kept: from here on it is known by the successor's number.
    fn take_over(&mut self, call: u32, name: u64) -> io::Result<()> {
        let Some(kept) = self.kept.get(name) else { return Ok(()) };
        let ends = kept.ends.iter().map(OwnedFd::try_clone).collect::<io::Result<_>>()?;
        let ended = kept.ended;
        let before = self.commands.iter().find(|(_, command)| command.kept == Some(name));
        if let Some(command) = before.map(|(before, _)| *before).and_then(|call| self.commands.remove(&call))
        {
            self.commands.insert(call, command);
        }
        self.reply(&Reply::Started { call }, ends)?;
        match ended {
            Some(how) => self.reply(&Reply::Exited { call, how }, Vec::new()),
            None => Ok(()),
        }
    }

    fn handle(&mut self, mut frame: Frame) -> io::Result<()> {
        let request = Request::decode(&frame.body)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        match request {
            Request::Exec { call, exec } => {
                self.next_call = self.next_call.max(call.saturating_add(1));
                if let Some(name) = exec.kept {
                    if self.kept.get(name).is_some() {
                        return self.take_over(call, name);
                    }
                    let ends = frame.fds.split_off(frame.fds.len().min(2));
                    if !self.kept.add(name, ends) {
                        let why = "too many commands are kept, or one without ends to read from";
                        return self.fail(call, Failure::Host, why.to_owned());
                    }
                }
                let Some(view) = self.place(exec.view) else {
                    return self.fail(call, Failure::Host, "there is no such view".to_owned());
                };
                let around = Surroundings {
                    basis: self.basis,
                    nproc: self.nproc,
                    null: &self.null,
                    terminals: &self.terminals,
                    commands_groups: &self.commands_groups,
                    view,
                };
                match exec::start(call, &exec, frame.fds, &around) {
                    Ok(started) => {
                        let command = Command {
                            tree: Tree { pid: started.pid, call },
                            report: Some(started.report),
                            launch: started.launch,
                            master: started.master,
                            kept: exec.kept,
                            state: State::Running,
                            deadline_ms: exec.deadline_ms,
                            deadline: deadline(exec.deadline_ms),
                            grace_ms: exec.grace_ms,
                        };
                        self.commands.insert(call, command);
                        Ok(())
                    }
                    Err(error) => {
                        self.kept.forget(exec.kept);
                        self.fail(call, Failure::Host, format!("start a process in the sandbox: {error}"))
                    }
                }
            }
            Request::Kill { call } => {
                if let Some(command) = self.commands.get_mut(&call) {
                    command.state = State::Killed { told: false };
                    kill::signal_tree(command.tree, libc::SIGKILL);
                }
                Ok(())
            }
            Request::Resize { call, columns, rows } => {
                if let Some(master) = self.commands.get(&call).and_then(|command| command.master.as_ref()) {
                    exec::resize(master, (columns, rows));
                }
                Ok(())
            }
            Request::KillAll { call } => {
                kill::signal_all(libc::SIGKILL);
                self.emptying.push(call);
                self.reap()
            }
            Request::Stop { call, on } => {
                kill::signal_all(if on { libc::SIGSTOP } else { libc::SIGCONT });
                self.reply(&Reply::Done { call }, Vec::new())
            }
            Request::Forget { kept } => {
                self.kept.forget(Some(kept));
                Ok(())
            }
            Request::Outlive { call, linger_ms } => {
                if let Some(door) = &mut self.door {
                    door.linger_ms = linger_ms;
                    self.kept.listeners(linger_ms > 0);
                    return self.reply(&Reply::Done { call }, Vec::new());
                }
                self.fail(call, Failure::Host, "no successor could come in".to_owned())
            }
            Request::Listen { call, port } => match self.kept.listener(port) {
                Ok(fd) => self.reply(&Reply::Done { call }, vec![fd]),
                Err(error) => {
                    self.fail(call, Failure::Host, format!("listen on port {port} inside: {error}"))
                }
            },
            Request::Secret { .. } | Request::Arrive { .. } => Ok(()),
            Request::End => exit(0),
            Request::Files { call, view, op } => {
                let Some(view) = self.place(view) else {
                    return self.fail(call, Failure::Host, "there is no such view".to_owned());
                };
                let one_id = self.basis.uids.iter().map(|(_, _, count)| *count).sum::<u32>() == 1;
                let started = match frame.fds.first() {
                    Some(socket) => {
                        let place = files::Where { view, held: self.held.as_ref(), one_id };
                        files::start(&op, socket, &place)
                    }
                    None => Err(io::Error::from(io::ErrorKind::InvalidData)),
                };
                match started {
                    Ok(()) => self.reply(&Reply::Done { call }, Vec::new()),
                    Err(error) => {
                        self.fail(call, Failure::Host, format!("start moving files inside: {error}"))
                    }
                }
            }
            Request::View { call, spec } => match view::start(&spec, frame.fds, self.held.as_ref()) {
                Ok(socket) => {
                    self.building.push(Building { call, view: spec.view, socket });
                    Ok(())
                }
                Err(error) => self.fail(call, Failure::Host, format!("start making a view: {error}")),
            },
        }
    }

    fn take_views(&mut self, answered: &[bool]) -> io::Result<()> {
        let (done, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.building)
            .into_iter()
            .zip(answered)
            .partition(|(_, answered)| **answered);
        self.building = waiting.into_iter().map(|(building, _)| building).collect();
        for (building, _) in done {
            let call = building.call;
            match view::answer(&building.socket) {
                Ok(namespace) => {
                    self.views.insert(building.view, namespace);
                    self.reply(&Reply::Done { call }, Vec::new())?;
                }
                Err(why) => self.fail(call, Failure::Host, format!("make a view: {why}"))?,
            }
        }
        Ok(())
    }

    /// A command said that it runs, or why it does not.
    fn take_report(&mut self, call: u32) -> io::Result<()> {
        let Some(command) = self.commands.get_mut(&call) else { return Ok(()) };
        let Some(report) = command.report.take() else { return Ok(()) };
        let mut words = Vec::new();
        File::from(report).take(REPORT_LIMIT).read_to_end(&mut words)?;
        // Its end says that nothing uses this memory any more.
        let launch = command.launch.take();
        if let Some((launch, stumble)) = launch.zip(Stumble::from_report(&words)) {
            self.kept.forget(command.kept);
            self.commands.remove(&call);
            let (kind, text) = launch.explain(stumble);
            return self.fail(call, kind, text);
        }
        match words.split_first() {
            None => {
                // Its time begins when it runs.
                command.deadline = deadline(command.deadline_ms);
                let master = command.master.as_ref().map(OwnedFd::try_clone).transpose()?;
                self.reply(&Reply::Started { call }, master.into_iter().collect())
            }
            Some((tag, text)) => {
                // It was never a command: its process is reaped and its status told to nobody.
                self.kept.forget(command.kept);
                self.commands.remove(&call);
                let kind = if *tag == b'I' { Failure::Inside } else { Failure::Host };
                self.fail(call, kind, String::from_utf8_lossy(text).into_owned())
            }
        }
    }

    fn reap(&mut self) -> io::Result<()> {
        loop {
            match kill::reap() {
                Reaped::NoneYet => return Ok(()),
                Reaped::NoneLeft => {
                    for call in std::mem::take(&mut self.emptying) {
                        self.reply(&Reply::Done { call }, Vec::new())?;
                    }
                    return Ok(());
                }
                Reaped::Child(pid, status) => {
                    let call = self
                        .commands
                        .iter()
                        .find(|(_, command)| command.tree.pid == pid)
                        .map(|(call, _)| *call);
                    if let Some(call) = call {
                        self.ended(call, status)?;
                    }
                }
            }
        }
    }

    /// A command's own process was waited for.
    fn ended(&mut self, call: u32, status: libc::c_int) -> io::Result<()> {
        self.take_report(call)?;
        let Some(command) = self.commands.get_mut(&call) else { return Ok(()) };
        match command.state {
            State::Running => {
                self.kept.ended(command.kept, how(status));
                self.commands.remove(&call);
                self.reply(&Reply::Exited { call, how: how(status) }, Vec::new())
            }
            // Told once the whole tree is gone.
            State::Ending(_) | State::TimedOut => Ok(()),
            State::Killed { .. } => {
                command.state = State::Killed { told: true };
                self.kept.forget(command.kept);
                self.reply(&Reply::Exited { call, how: how(status) }, Vec::new())
            }
        }
    }

    fn keep_deadlines(&mut self) -> io::Result<()> {
        let now = sys::now_ms();
        let mut gone = Vec::new();
        for (call, command) in &mut self.commands {
            match command.state {
                State::Running => {
                    if command.deadline.is_some_and(|deadline| deadline <= now) {
                        kill::signal_tree(command.tree, libc::SIGTERM);
                        command.state = State::Ending(now.saturating_add(command.grace_ms));
                    }
                }
                State::Ending(kill_at) => {
                    if kill_at <= now {
                        kill::signal_tree(command.tree, libc::SIGKILL);
                        command.state = State::TimedOut;
                    } else if kill::signal_tree(command.tree, 0) == 0 {
                        gone.push(*call);
                    }
                }
                State::TimedOut | State::Killed { .. } => {
                    if kill::signal_tree(command.tree, libc::SIGKILL) == 0 {
                        gone.push(*call);
                    }
                }
            }
        }
        for call in gone {
            // Zombies do not count as living, so that its own process may still have to be waited for.
            self.reap()?;
            match self.commands.get(&call).map(|command| command.state) {
                Some(State::Ending(_) | State::TimedOut) => {
                    let kept = self.commands.remove(&call).and_then(|command| command.kept);
                    self.kept.ended(kept, Ended::TimedOut);
                    self.reply(&Reply::Exited { call, how: Ended::TimedOut }, Vec::new())?;
                }
                Some(State::Killed { told: true }) => {
                    self.commands.remove(&call);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn timeout_ms(&self) -> libc::c_int {
        let now = sys::now_ms();
        let next = self.commands.values().filter_map(|command| match command.state {
            State::Running => command.deadline.map(|deadline| deadline.saturating_sub(now)),
            State::Ending(kill_at) => Some(kill_at.saturating_sub(now).min(SWEEP_MS)),
            State::TimedOut | State::Killed { .. } => Some(SWEEP_MS),
        });
        let door = self.door.as_ref().and_then(Door::deadline).map(|deadline| deadline.saturating_sub(now));
        let lonely = self.lonely_at.map(|at| at.saturating_sub(now));
        next.chain(door)
            .chain(lonely)
            .min()
            .map_or(-1, |ms| libc::c_int::try_from(ms).unwrap_or(libc::c_int::MAX))
    }

    /// The mount namespace of a view, `Some(None)` for the sandbox itself.
    fn place(&self, view: u32) -> Option<Option<&OwnedFd>> {
        match view {
            0 => Some(None),
            number => self.views.get(&number).map(Some),
        }
    }

    fn fail(&mut self, call: u32, kind: Failure, message: String) -> io::Result<()> {
        self.reply(&Reply::Failed { call, kind, message }, Vec::new())
    }

    /// Sends, or keeps for later when the socket is full: a host that is slow to read stops nothing here.
    fn reply(&mut self, reply: &Reply, fds: Vec<OwnedFd>) -> io::Result<()> {
        if self.control.is_some() {
            self.outbox.push_back((socket::framed(&reply.encode()), 0, fds));
        }
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        while let Some((bytes, sent, fds)) = self.outbox.front_mut() {
            let raw: Vec<i32> =
                if *sent == 0 { fds.iter().map(AsRawFd::as_raw_fd).collect() } else { Vec::new() };
            let Some(control) = &self.control else { return Ok(()) };
            match socket::send_some_now(control.as_fd(), &bytes[*sent..], &raw) {
                Ok(count) => *sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if self.door.is_none() => return Err(error),
                Err(_) => {
                    self.let_go();
                    return Ok(());
                }
            }
            if *sent == bytes.len() {
                self.outbox.pop_front();
            }
        }
        Ok(())
    }

    fn drain_signals(&self) {
        let mut buffer = [0_u8; size_of::<libc::signalfd_siginfo>()];
        // SAFETY: pointer and length belong to one array; the descriptor does not block.
        while unsafe { libc::read(self.signals.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) } > 0 {}
    }
}

/// The clock's milliseconds are rounded down, which must not make a deadline early.
fn deadline(ms: Option<u64>) -> Option<u64> {
    ms.map(|ms| sys::now_ms().saturating_add(ms).saturating_add(1))
}

fn how(status: libc::c_int) -> Ended {
    if libc::WIFSIGNALED(status) {
        Ended::Signal(libc::WTERMSIG(status))
    } else {
        Ended::Code(libc::WEXITSTATUS(status))
    }
}

/// A copy of the descriptor with a number above 2.
fn above_streams(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    let copy = fd.try_clone()?;
    // 0, 1 and 2 must stay open.
    std::mem::forget(fd);
    Ok(copy)
}

fn child_signals() -> io::Result<OwnedFd> {
    // SAFETY: a zeroed set is made empty before it is used; the new descriptor gets its owner at once.
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        sys::check(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()))?;
        let fd = sys::check(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}
