//! Plays a recording: for a request the answer that it got when it was recorded, found by its canonical form among those of its
//! trial, each once.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::canonical::{Asked, Key, said};
use super::difference::difference;
use super::exchange::{Cost, Ending, Exchange};
use super::index::{self, Entry, IndexReader};
use super::pack::PackReader;
use super::writer::pieces;
use super::{ANSWER_BYTES, FORMAT, FORMAT_FILE, PACK_FILE, REQUEST_BYTES};

/// What is done with a request that was not recorded as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// It is refused, and the agent stops. What an agent says must be what was recorded; what its commands printed may differ
    /// where nothing else does, because clocks and parallel programs never print the same twice. The record says what differed.
    #[default]
    Strict,
    /// It is refused too, and so is one that only differs in what commands printed.
    Exact,
    /// It gets the next answer of the same conversation, and the record says what differed.
    Lenient,
    /// It is forwarded, and costs what it costs.
    Passthrough,
}

impl Mode {
    /// Every mode with its name.
    pub const ALL: [(&'static str, Mode); 4] = [
        ("strict", Mode::Strict),
        ("exact", Mode::Exact),
        ("lenient", Mode::Lenient),
        ("passthrough", Mode::Passthrough),
    ];

    /// The mode of that name.
    pub fn parse(name: &str) -> Option<Mode> {
        Mode::ALL.iter().find(|(known, _)| *known == name).map(|(_, mode)| *mode)
    }
}

/// How fast a recording is played.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pace {
    /// Without waiting.
    #[default]
    AtOnce,
    /// With the times that were recorded: limits in time do what they did.
    Recorded,
}

/// A recording, open for playing.
#[derive(Debug, Clone)]
pub struct Recording {
    shared: Arc<Opened>,
}

#[derive(Debug)]
struct Opened {
    folder: PathBuf,
    pack: PackReader,
    /// How long the pack was when it was opened: what a recorder adds meanwhile is not played.
    pack_end: u64,
}

impl Recording {
    /// Opens the recording in this folder. Nothing of it is read but what says that it is one.
    ///
    /// # Errors
    /// There is none, or it is of another version.
    pub fn open(folder: &Path) -> io::Result<Recording> {
        let wrong =
            |kind: io::ErrorKind, what: &str| io::Error::new(kind, format!("{} {what}", folder.display()));
        match std::fs::read_to_string(folder.join(FORMAT_FILE)) {
            Ok(text) if text == FORMAT => {}
            // Cut while it was begun: an empty recording.
            Ok(text) if FORMAT.starts_with(&text) => {}
            Ok(_) => return Err(wrong(io::ErrorKind::InvalidData, "is a recording of another version")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(wrong(io::ErrorKind::NotFound, "holds no recording; `--record` makes one"));
            }
            Err(error) => return Err(error),
        }
        let pack = PackReader::open(&folder.join(PACK_FILE))?;
        let pack_end = pack.end()?;
        Ok(Recording { shared: Arc::new(Opened { folder: folder.to_owned(), pack, pack_end }) })
    }

    /// The trials that were recorded, in order. This reads a little of each.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn trials(&self) -> io::Result<Vec<String>> {
        let mut trials = Vec::new();
        for folder in std::fs::read_dir(self.shared.folder.join("trials"))? {
            for list in std::fs::read_dir(folder?.path())? {
                let reader = IndexReader::open(&list?.path(), self.shared.pack_end)?;
                let first = reader.map(|mut reader| reader.next()).transpose()?.unwrap_or_default();
                // A list whose first exchange is damaged has nothing to play.
                trials.extend(
                    first.first().and_then(|entry| self.shared.exchange(entry).ok()).map(|read| read.trial),
                );
            }
        }
        trials.sort();
        Ok(trials)
    }

    /// What a trial was asked and answered, in order, for those who tell it; at most so many bytes of bodies, then the rest is left
    /// out. What is damaged is left out too.
    ///
    /// # Errors
    /// The trial's list cannot be read. One that was not recorded has no exchanges.
    pub fn exchanges(&self, trial: &str, most: usize) -> io::Result<Vec<Kept>> {
        let list = IndexReader::open(&index::path(&self.shared.folder, trial), self.shared.pack_end)?;
        let Some(mut list) = list else { return Ok(Vec::new()) };
        let (mut found, mut bytes) = (Vec::new(), 0_usize);
        loop {
            let entries = list.next()?;
            if entries.is_empty() {
                return Ok(found);
            }
            for entry in &entries {
                let Ok(kept) = self.shared.kept(entry) else { continue };
                bytes = bytes.saturating_add(kept.asked.len()).saturating_add(kept.answered.len());
                if bytes > most {
                    return Ok(found);
                }
                found.push(kept);
            }
        }
    }

    /// A player of one trial, at its beginning. A trial that was not recorded has one too: it misses every request.
    ///
    /// # Errors
    /// The trial's list cannot be read.
    pub fn player(&self, trial: &str, mode: Mode, pace: Pace) -> io::Result<Player> {
        let list = IndexReader::open(&index::path(&self.shared.folder, trial), self.shared.pack_end)?;
        let state = State { list, read: 0, left: BTreeMap::new(), by_form: HashMap::new() };
        Ok(Player {
            recording: Arc::clone(&self.shared),
            trial: trial.to_owned(),
            mode,
            pace,
            state: Mutex::new(state),
        })
    }
}

impl Opened {
    fn exchange(&self, entry: &Entry) -> io::Result<Exchange> {
        let bytes = self.pack.get(entry.place)?;
        serde_json::from_slice(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    fn kept(&self, entry: &Entry) -> io::Result<Kept> {
        let exchange = self.exchange(entry)?;
        let asked = self.pack.get_all(&exchange.asked, REQUEST_BYTES * 2)?;
        let answered = self.pack.get_all(&exchange.answered, ANSWER_BYTES * 2)?;
        let list = self.pack.get_all(&exchange.pieces, ANSWER_BYTES)?;
        let pieces_us = pieces(&list).fold(0_u64, |sum, (after_us, _)| sum.saturating_add(after_us.into()));
        let generates = format!("{:?}", crate::wire::Operation::Generate);
        Ok(Kept {
            request: exchange.request,
            at_ms: exchange.at_ms,
            took_ms: exchange.headers_us.saturating_add(pieces_us) / 1000,
            generates: exchange.operation == generates,
            wire: exchange.wire,
            model: exchange.model,
            asked,
            status: exchange.status,
            headers: exchange.headers,
            answered,
            cost: exchange.cost,
        })
    }

    fn played(&self, exchange: Exchange, drift: Option<String>) -> io::Result<Played> {
        let mut body = Bytes::from(self.pack.get_all(&exchange.answered, ANSWER_BYTES * 2)?);
        let list = self.pack.get_all(&exchange.pieces, ANSWER_BYTES)?;
        let mut frames: VecDeque<Frame> = pieces(&list)
            .map(|(after_us, length)| Frame {
                after: Duration::from_micros(after_us.into()),
                bytes: body.split_to(length.min(body.len())),
            })
            .filter(|frame| !frame.bytes.is_empty())
            .collect();
        if !body.is_empty() {
            frames.push_back(Frame { after: Duration::ZERO, bytes: body });
        }
        Ok(Played {
            request: exchange.request,
            status: exchange.status,
            headers: exchange.headers,
            attempts: exchange.attempts,
            headers_after: Duration::from_micros(exchange.headers_us),
            frames,
            ending: exchange.ending,
            cost: exchange.cost,
            drift,
        })
    }
}

/// One exchange as it was kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// Which of the trial's requests.
    pub request: u64,
    /// When it was asked, in milliseconds since 1970.
    pub at_ms: u64,
    /// How long the answer took.
    pub took_ms: u64,
    /// Whether an answer of the model was asked for, and not a count of tokens or a list.
    pub generates: bool,
    /// The wire's name.
    pub wire: String,
    /// The model as asked for.
    pub model: String,
    /// The request's body.
    pub asked: Vec<u8>,
    /// The answer's status.
    pub status: u16,
    /// Those of its headers that were kept.
    pub headers: Vec<(String, String)>,
    /// The answer's body, unpacked.
    pub answered: Vec<u8>,
    /// What it cost.
    pub cost: Cost,
}

/// A piece of a recorded answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// How long after the one before it came.
    pub after: Duration,
    /// What came.
    pub bytes: Bytes,
}

/// A recorded answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Played {
    /// Which of the recorded trial's requests it answered.
    pub request: u64,
    /// The status.
    pub status: u16,
    /// The headers that were kept.
    pub headers: Vec<(String, String)>,
    /// How often the request was forwarded when it was recorded.
    pub attempts: u32,
    /// How long the headers took.
    pub headers_after: Duration,
    /// The body as it came.
    pub frames: VecDeque<Frame>,
    /// How it ended.
    pub ending: Ending,
    /// What it cost when it was recorded.
    pub cost: Cost,
    /// What differed between the request now and the recorded one, when it is not the same.
    pub drift: Option<String>,
}

/// A request that was not recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Miss {
    /// What differed, or what else is the matter; several lines.
    pub message: String,
}

/// Plays one trial.
#[derive(Debug)]
pub struct Player {
    recording: Arc<Opened>,
    trial: String,
    mode: Mode,
    pace: Pace,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// `None` when the trial was not recorded.
    list: Option<IndexReader>,
    /// How many entries were read of it.
    read: u64,
    /// Those that were read and not played, by their number.
    left: BTreeMap<u64, Entry>,
    by_form: HashMap<[u8; 16], VecDeque<u64>>,
}

impl Player {
    /// What is done with a request that was not recorded.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// How fast answers come.
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// The answer to a request; each is played once. Reads files: not for a thread that others wait for.
    ///
    /// # Errors
    /// A miss: nothing like it was recorded, or not in this mode, or the recording is damaged there.
    pub fn play(&self, asked: &Asked<'_>) -> Result<Played, Miss> {
        let key = asked.key();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let found = match state.same(&key) {
            Ok(found) => found,
            Err(error) => return Err(damaged(&error)),
        };
        if let Some(entry) = found {
            drop(state);
            let exchange = self.recording.exchange(&entry).map_err(|error| damaged(&error))?;
            return self.recording.played(exchange, None).map_err(|error| damaged(&error));
        }
        // Everything was read by now.
        let (number, entry) = match state.nearest(&key) {
            Some(nearest) => nearest,
            None => return Err(Miss { message: self.nothing(&state) }),
        };
        let exchange = self.recording.exchange(&entry).map_err(|error| damaged(&error))?;
        let body = self.recording.pack.get_all(&exchange.asked, REQUEST_BYTES * 2);
        let body = body.map_err(|error| damaged(&error))?;
        let (recorded, now) = (exchange.asked(&body).form(), asked.form());
        let lines = difference(&recorded, &now);
        let request = exchange.request;
        // The same by today's form, if not by that of whoever recorded it.
        let is_same = lines.is_empty();
        if entry.key.kind == key.kind && (is_same || self.mode != Mode::Exact && said(recorded) == said(now))
        {
            state.use_up(number);
            drop(state);
            let drift =
                format!("what commands printed differs from request {request}:\n  {}", lines.join("\n  "));
            let drift = (!is_same).then_some(drift);
            return self.recording.played(exchange, drift).map_err(|error| damaged(&error));
        }
        let message = format!("the nearest is request {request}, and differs:\n  {}", lines.join("\n  "));
        // An answer of another kind, or of another conversation, cannot be understood by whoever asked.
        if self.mode == Mode::Lenient && entry.key.kind == key.kind {
            state.use_up(number);
            drop(state);
            return self.recording.played(exchange, Some(message)).map_err(|error| damaged(&error));
        }
        Err(Miss { message: format!("this request was not recorded; {message}") })
    }

    fn nothing(&self, state: &State) -> String {
        match &state.list {
            None => format!("the recording has no trial {}", self.trial),
            Some(_) => format!("all {} recorded exchanges of the trial were played already", state.read),
        }
    }
}

fn damaged(error: &io::Error) -> Miss {
    Miss { message: format!("the recording cannot be read here: {error}") }
}

impl State {
    /// The first one left that is the same. Reads on until there is one.
    fn same(&mut self, key: &Key) -> io::Result<Option<Entry>> {
        loop {
            if let Some(numbers) = self.by_form.get_mut(&key.form) {
                while let Some(number) = numbers.pop_front() {
                    if let Some(entry) = self.left.remove(&number) {
                        return Ok(Some(entry));
                    }
                }
                self.by_form.remove(&key.form);
            }
            let Some(list) = &mut self.list else { return Ok(None) };
            let more = list.next()?;
            if more.is_empty() {
                return Ok(None);
            }
            for entry in more {
                self.left.insert(self.read, entry);
                self.by_form.entry(entry.key.form).or_default().push_back(self.read);
                self.read += 1;
            }
        }
    }

    /// The one that it most likely stands for: the next of its conversation, of its kind, or at all.
    fn nearest(&self, key: &Key) -> Option<(u64, Entry)> {
        let find = |fits: &dyn Fn(&Key) -> bool| {
            self.left.iter().find(|(_, entry)| fits(&entry.key)).map(|(number, entry)| (*number, *entry))
        };
        find(&|other| other.thread == key.thread && other.kind == key.kind)
            .or_else(|| find(&|other| other.kind == key.kind))
            .or_else(|| find(&|_| true))
    }

    fn use_up(&mut self, number: u64) {
        // Its number stays in the other list, and is passed over there.
        self.left.remove(&number);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::super::pack::PackWriter;
    use super::*;
    use crate::wire::Operation;

    const COUNT: u64 = 1_000_000;

    fn asked(body: &[u8]) -> Asked<'_> {
        Asked { wire: "openai", operation: Operation::Generate, model: "m", stream: false, body }
    }

    #[test]
    fn recording_of_a_million_exchanges_opens_and_plays_without_being_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FORMAT_FILE), FORMAT).unwrap();
        let mut pack = PackWriter::open(&folder.path().join(PACK_FILE)).unwrap();
        let exchange = serde_json::json!({"trial": "t", "request": 7, "at_ms": 0, "wire": "openai", "operation": "Generate",
            "model": "m", "stream": false, "asked": [], "status": 200, "headers": [], "attempts": 1, "headers_us": 0,
            "answered": [], "pieces": [], "ending": "complete", "cost": {}});
        let place = pack.put(exchange.to_string().as_bytes()).unwrap();
        let (first, last) = (asked(b"{\"n\":0}").key(), asked(b"{\"n\":1}").key());
        let path = index::path(folder.path(), "t");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut list = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
        for number in 0..COUNT {
            let mut key = first;
            key.form[..8].copy_from_slice(&number.to_le_bytes());
            let key = if number == 100 {
                first
            } else if number == COUNT - 1 {
                last
            } else {
                key
            };
            list.write_all(&Entry { key, place, pack_end: pack.end() }.to_bytes()).unwrap();
        }
        list.into_inner().unwrap();

        let begun = std::time::Instant::now();
        let recording = Recording::open(folder.path()).unwrap();
        let player = recording.player("t", Mode::Strict, Pace::AtOnce).unwrap();
        let opened = begun.elapsed();
        assert_eq!(player.state.lock().unwrap().read, 0);
        assert_eq!(player.play(&asked(b"{\"n\":0}")).unwrap().request, 7);
        assert_eq!(player.state.lock().unwrap().read, 256, "one block");
        assert_eq!(recording.trials().unwrap(), ["t"]);
        // On a machine that does much else besides; it is a few system calls.
        assert!(opened < Duration::from_millis(200), "{opened:?}");
        // The last is found too, at the cost of reading on.
        assert!(player.play(&asked(b"{\"n\":1}")).is_ok());
        assert_eq!(player.state.lock().unwrap().read, COUNT);
    }
}
