//! A terminal of a test's own: the program on one side, a screen that can be read and resized on the other.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::room::{until, wait};

/// Lines of every screen, and how many that scrolled out of it can be looked at.
const ROWS: u16 = 40;
const KEPT: usize = 500;

/// The terminal with its program.
pub struct Terminal {
    child: Child,
    master: OwnedFd,
    screen: Arc<Mutex<vt100::Parser>>,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Starts a program on a terminal of so many columns, as the one that gets the terminal's signals.
    pub fn start(mut command: Command, columns: u16) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        tcsetwinsize(&master, size(columns)).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        command.env("TERM", "xterm-256color").env_remove("COLUMNS");
        command
            .stdin(slave.try_clone().unwrap())
            .stdout(slave.try_clone().unwrap())
            .stderr(Stdio::from(slave));
        // SAFETY: both calls are single system calls, which may be made between fork and exec.
        unsafe {
            command.pre_exec(|| {
                rustix::process::setsid()?;
                rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        // The command holds the slave side: while it lives, the end of the program would not be seen.
        drop(command);
        let screen = Arc::new(Mutex::new(vt100::Parser::new(ROWS, columns, KEPT)));
        let mut from = File::from(master.try_clone().unwrap());
        let to = screen.clone();
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Reading fails with EIO when the other side is gone.
            while let Ok(count @ 1..) = from.read(&mut bytes) {
                to.lock().unwrap().process(&bytes[..count]);
            }
        });
        Terminal { child, master, screen, reader: Some(reader) }
    }

    pub fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// Ctrl-C, as a person types it.
    pub fn interrupt(&self) {
        File::from(self.master.try_clone().unwrap()).write_all(&[3]).unwrap();
    }

    /// Other columns, as when a window is dragged.
    pub fn resize(&self, columns: u16) {
        self.parser().screen_mut().set_size(ROWS, columns);
        tcsetwinsize(&self.master, size(columns)).unwrap();
    }

    /// What is on the screen now, line by line, without the empty ones at its end.
    pub fn lines(&self) -> Vec<String> {
        lines_of(self.parser().screen())
    }

    /// Waits until the screen holds a text.
    #[track_caller]
    pub fn shows(&self, text: &str) {
        until(&format!("the screen shows {text:?}"), || self.lines().iter().any(|line| line.contains(text)));
    }

    /// Lines of the screen that were too long for it and went on in the next.
    pub fn wrapped(&self) -> Vec<String> {
        let parser = self.parser();
        let screen = parser.screen();
        let lines = lines_of(screen);
        // Bars are padded to the edge, after which the terminal goes on in the next line too: only text counts.
        let full = |row: u16| {
            screen.cell(row, screen.size().1 - 1).is_some_and(|cell| !cell.contents().trim().is_empty())
        };
        let wrapped = (0..ROWS).filter(|row| screen.row_wrapped(*row) && full(*row));
        wrapped.filter_map(|row| lines.get(usize::from(row)).cloned()).collect()
    }

    /// Everything that was ever on the screen and is not any more, above what is there now.
    pub fn all(&self) -> String {
        let mut parser = self.parser();
        let screen = parser.screen_mut();
        let now = lines_of(screen);
        let mut above = Vec::new();
        for back in (1..=KEPT).rev() {
            screen.set_scrollback(back);
            // Less than asked for means that nothing is so far up.
            if screen.scrollback() == back {
                above.push(lines_of(screen).first().cloned().unwrap_or_default());
            }
        }
        screen.set_scrollback(0);
        above.extend(now);
        above.join("\n")
    }

    /// Whether any character on the screen has a colour.
    pub fn is_coloured(&self) -> bool {
        let parser = self.parser();
        let screen = parser.screen();
        let cells =
            (0..ROWS).flat_map(|row| (0..screen.size().1).filter_map(move |column| screen.cell(row, column)));
        let mut colours = cells.map(vt100::Cell::fgcolor);
        colours.any(|colour| colour != vt100::Color::Default)
    }

    /// Waits for the program's end, this long.
    #[track_caller]
    pub fn ends_within(&mut self, patience: Duration) -> ExitStatus {
        let status = wait(&mut self.child, patience);
        let status = status.unwrap_or_else(|| panic!("not ended after {patience:?}:\n{}", self.all()));
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        status
    }

    fn parser(&self) -> MutexGuard<'_, vt100::Parser> {
        self.screen.lock().unwrap()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A test that failed half way leaves no program behind.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn size(columns: u16) -> Winsize {
    Winsize { ws_row: ROWS, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn lines_of(screen: &vt100::Screen) -> Vec<String> {
    let (_, columns) = screen.size();
    let mut lines: Vec<String> = screen.rows(0, columns).map(|line| line.trim_end().to_owned()).collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}
