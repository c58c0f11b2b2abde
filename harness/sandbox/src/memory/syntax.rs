//! Reads the part of the shell's language that memory sandboxes understand. What it does not know is an error, never a guess.

/// A part of a word. What stands in quotes is not split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Text(Vec<u8>),
    Variable { name: Vec<u8>, default: Option<Vec<u8>>, quoted: bool },
    Output { script: Script, quoted: bool },
}

/// One word before expansion; `quoted` keeps an empty one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) parts: Vec<Part>,
    pub(super) quoted: bool,
}

/// Where a descriptor goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Redirect {
    Read(Word),
    Here(Word),
    Write { fd: usize, to: Word, append: bool },
    Same { fd: usize, as_fd: usize },
}

/// A list of commands; the flag says that one runs in the background.
pub(super) type Script = Vec<(Command, bool)>;

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Simple { assignments: Vec<(Vec<u8>, Word)>, words: Vec<Word>, redirects: Vec<Redirect> },
    Group { body: Script, redirects: Vec<Redirect>, subshell: bool },
    And(Box<Command>, Box<Command>),
    Or(Box<Command>, Box<Command>),
    Not(Box<Command>),
    Pipe(Vec<Command>),
    If { branches: Vec<(Script, Script)>, otherwise: Option<Script> },
    While { condition: Script, body: Script, until: bool },
    For { name: Vec<u8>, words: Vec<Word>, body: Script },
}

/// Reads a whole script.
pub(super) fn parse(text: &[u8]) -> Result<Script, String> {
    let mut reader = Reader { text, at: 0, depth: 0, here: None };
    let script = reader.script(&[])?;
    match reader.peek() {
        None => Ok(script),
        Some(byte) => Err(format!("unexpected `{}` at byte {}", char::from(byte), reader.at)),
    }
}

/// Deepest nesting, so that no script exhausts the stack.
const DEEPEST: usize = 32;

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
    /// The end of the line that a here-document follows, and where reading goes on after it.
    here: Option<(usize, usize)>,
}

const KEYWORDS: &[&[u8]] = &[b"then", b"else", b"elif", b"fi", b"do", b"done", b"}", b"in"];

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn starts(&self, what: &[u8]) -> bool {
        self.text[self.at..].starts_with(what)
    }

    fn accept(&mut self, what: &[u8]) -> bool {
        let found = self.starts(what);
        if found {
            self.at = match self.here {
                Some((line_end, next)) if line_end == self.at => next,
                _ => self.at + what.len(),
            };
        }
        found
    }

    fn blanks(&mut self) {
        loop {
            match self.peek() {
                Some(b' ' | b'\t') => self.at += 1,
                Some(b'\\') if self.starts(b"\\\n") => self.at += 2,
                Some(b'#') => {
                    while self.peek().is_some_and(|byte| byte != b'\n') {
                        self.at += 1;
                    }
                }
                _ => return,
            }
        }
    }

    fn lines(&mut self) {
        self.blanks();
        while self.accept(b"\n") {
            self.blanks();
        }
    }

    /// A reserved word, only where it stands alone.
    fn keyword(&mut self, word: &[u8]) -> bool {
        let end = self.text.get(self.at + word.len()).copied();
        let alone = end.is_none_or(|byte| b" \t\n;&|()".contains(&byte));
        self.starts(word) && alone && self.accept(word)
    }

    fn expect(&mut self, word: &[u8]) -> Result<(), String> {
        self.lines();
        if self.keyword(word) {
            return Ok(());
        }
        Err(format!("`{}` expected at byte {}", String::from_utf8_lossy(word), self.at))
    }

    fn script(&mut self, ends: &[&[u8]]) -> Result<Script, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err("commands nested too deeply".into());
        }
        let mut script = Vec::new();
        loop {
            self.lines();
            let before = self.at;
            let over =
                self.peek().is_none_or(|byte| byte == b')') || ends.iter().any(|end| self.keyword(end));
            self.at = before;
            if over {
                self.depth -= 1;
                return Ok(script);
            }
            let command = self.list()?;
            self.blanks();
            let background = !self.starts(b"&&") && self.accept(b"&");
            let separated =
                background || self.accept(b";") || matches!(self.peek(), None | Some(b'\n' | b')'));
            script.push((command, background));
            if !separated {
                return Err(format!("separator expected at byte {}", self.at));
            }
        }
    }

    fn list(&mut self) -> Result<Command, String> {
        let mut left = self.pipeline()?;
        loop {
            self.blanks();
            if self.accept(b"&&") {
                self.lines();
                left = Command::And(Box::new(left), Box::new(self.pipeline()?));
            } else if self.accept(b"||") {
                self.lines();
                left = Command::Or(Box::new(left), Box::new(self.pipeline()?));
            } else {
                return Ok(left);
            }
        }
    }

    fn pipeline(&mut self) -> Result<Command, String> {
        self.blanks();
        let mut negated = false;
        while self.keyword(b"!") {
            negated = !negated;
            self.blanks();
        }
        let mut stages = vec![self.command()?];
        loop {
            self.blanks();
            if self.starts(b"||") || !self.accept(b"|") {
                break;
            }
            self.lines();
            stages.push(self.command()?);
        }
        let command = if stages.len() == 1 { stages.remove(0) } else { Command::Pipe(stages) };
        Ok(if negated { Command::Not(Box::new(command)) } else { command })
    }

    /// A command with the redirections that follow it.
    fn command(&mut self) -> Result<Command, String> {
        let start = self.at;
        let command = self.bare_command()?;
        if matches!(command, Command::Simple { .. } | Command::Group { .. }) {
            return Ok(command);
        }
        let redirects = self.redirects()?;
        if redirects.is_empty() || self.at == start {
            return Ok(command);
        }
        Ok(Command::Group { body: vec![(command, false)], redirects, subshell: false })
    }

    fn bare_command(&mut self) -> Result<Command, String> {
        self.blanks();
        if self.keyword(b"if") {
            let mut branches = Vec::new();
            let mut otherwise = None;
            loop {
                let condition = self.script(&[b"then"])?;
                self.expect(b"then")?;
                branches.push((condition, self.script(&[b"elif", b"else", b"fi"])?));
                self.lines();
                if self.keyword(b"elif") {
                    continue;
                }
                if self.keyword(b"else") {
                    otherwise = Some(self.script(&[b"fi"])?);
                }
                self.expect(b"fi")?;
                return Ok(Command::If { branches, otherwise });
            }
        }
        for (word, until) in [(&b"while"[..], false), (b"until", true)] {
            if self.keyword(word) {
                let condition = self.script(&[b"do"])?;
                return Ok(Command::While { condition, body: self.body()?, until });
            }
        }
        if self.keyword(b"for") {
            self.blanks();
            let name = self.name();
            self.expect(b"in")?;
            let mut words = Vec::new();
            while let Some(word) = self.word()? {
                words.push(word);
            }
            self.accept(b";");
            return Ok(Command::For { name, words, body: self.body()? });
        }
        if self.keyword(b"{") {
            let body = self.script(&[b"}"])?;
            self.expect(b"}")?;
            return Ok(Command::Group { body, redirects: self.redirects()?, subshell: false });
        }
        if self.accept(b"(") {
            let body = self.script(&[])?;
            if !self.accept(b")") {
                return Err(format!("`)` expected at byte {}", self.at));
            }
            return Ok(Command::Group { body, redirects: self.redirects()?, subshell: true });
        }
        self.simple()
    }

    fn body(&mut self) -> Result<Script, String> {
        self.expect(b"do")?;
        let body = self.script(&[b"done"])?;
        self.expect(b"done")?;
        Ok(body)
    }

    fn redirects(&mut self) -> Result<Vec<Redirect>, String> {
        let mut redirects = Vec::new();
        loop {
            self.blanks();
            match self.redirect()? {
                Some(redirect) => redirects.push(redirect),
                None => return Ok(redirects),
            }
        }
    }

    fn simple(&mut self) -> Result<Command, String> {
        let (mut assignments, mut words, mut redirects) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            self.blanks();
            if let Some(redirect) = self.redirect()? {
                redirects.push(redirect);
                continue;
            }
            let start = self.at;
            if words.is_empty() {
                let name = self.name();
                if !name.is_empty() && self.accept(b"=") {
                    assignments.push((name, self.word()?.unwrap_or_default()));
                    continue;
                }
                self.at = start;
                if KEYWORDS.iter().any(|word| self.keyword(word)) {
                    return Err(format!("unexpected reserved word at byte {start}"));
                }
            }
            match self.word()? {
                Some(word) => words.push(word),
                None => break,
            }
        }
        if words.is_empty() && assignments.is_empty() && redirects.is_empty() {
            return Err(format!("command expected at byte {}", self.at));
        }
        Ok(Command::Simple { assignments, words, redirects })
    }

    fn redirect(&mut self) -> Result<Option<Redirect>, String> {
        let start = self.at;
        let fd = match self.peek() {
            Some(digit @ b'0'..=b'2') if matches!(self.text.get(self.at + 1), Some(b'<' | b'>')) => {
                self.at += 1;
                Some(usize::from(digit - b'0'))
            }
            _ => None,
        };
        let target = |reader: &mut Self| {
            reader.blanks();
            reader.word()?.ok_or_else(|| format!("file expected at byte {}", reader.at))
        };
        if self.accept(b"<<") {
            return self.here().map(|word| Some(Redirect::Here(word)));
        }
        if self.accept(b"<") {
            return Ok(Some(Redirect::Read(target(self)?)));
        }
        let fd = fd.unwrap_or(1);
        if self.accept(b">>") {
            return Ok(Some(Redirect::Write { fd, to: target(self)?, append: true }));
        }
        if self.accept(b">&") {
            let as_fd = match self.peek() {
                Some(digit @ b'0'..=b'2') => usize::from(digit - b'0'),
                _ => return Err(format!("descriptor expected at byte {}", self.at)),
            };
            self.at += 1;
            return Ok(Some(Redirect::Same { fd, as_fd }));
        }
        if self.accept(b">") {
            return Ok(Some(Redirect::Write { fd, to: target(self)?, append: false }));
        }
        self.at = start;
        Ok(None)
    }

    /// A here-document: its body begins in the next line, and is jumped over when the reader gets there.
    fn here(&mut self) -> Result<Word, String> {
        self.blanks();
        let quoted = matches!(self.peek(), Some(b'\'' | b'"' | b'\\'));
        let end: Vec<u8> = match self.word()?.map(|word| word.parts).as_deref() {
            Some([Part::Text(text)]) => text.clone(),
            _ => return Err("end word of a here-document expected".into()),
        };
        let line_end = self.text[self.at..].iter().position(|byte| *byte == b'\n');
        let line_end = self.at + line_end.ok_or("here-document without a body")?;
        if self.here.is_some_and(|(start, _)| start == line_end) {
            return Err("only one here-document in a line is known here".into());
        }
        let start = line_end + 1;
        let mut next = start;
        let body = loop {
            let rest = &self.text[next..];
            let line = rest.split_inclusive(|byte| *byte == b'\n').next();
            let line = line.ok_or("here-document without an end")?;
            next += line.len();
            if line.strip_suffix(b"\n").unwrap_or(line) == end {
                break self.text[start..next - line.len()].to_vec();
            }
        };
        self.here = Some((line_end, next));
        if quoted {
            return Ok(Word { parts: vec![Part::Text(body)], quoted: true });
        }
        let mut inner = Reader { text: &body, at: 0, depth: self.depth, here: None };
        Ok(Word { parts: inner.quoted_parts(None)?, quoted: true })
    }

    fn name(&mut self) -> Vec<u8> {
        let start = self.at;
        while let Some(byte) = self.peek() {
            if byte == b'_' || byte.is_ascii_alphabetic() || (self.at > start && byte.is_ascii_digit()) {
                self.at += 1;
            } else {
                break;
            }
        }
        self.text[start..self.at].to_vec()
    }

    fn word(&mut self) -> Result<Option<Word>, String> {
        self.blanks();
        let start = self.at;
        let mut word = Word::default();
        let mut text = Vec::new();
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\n' | b';' | b'&' | b'|' | b'(' | b')' | b'<' | b'>' => break,
                b'\'' => {
                    let end = self.text[self.at + 1..].iter().position(|byte| *byte == b'\'');
                    let end = self.at + 1 + end.ok_or("quote without an end")?;
                    text.extend_from_slice(&self.text[self.at + 1..end]);
                    self.at = end + 1;
                    word.quoted = true;
                }
                b'"' => {
                    self.at += 1;
                    word.quoted = true;
                    flush(&mut text, &mut word.parts);
                    word.parts.extend(self.quoted_parts(Some(b'"'))?);
                }
                b'\\' => {
                    text.extend(self.text.get(self.at + 1));
                    self.at += 2;
                }
                b'$' | b'`' => {
                    flush(&mut text, &mut word.parts);
                    word.parts.push(self.expansion(false)?);
                }
                _ => {
                    text.push(byte);
                    self.at += 1;
                }
            }
        }
        flush(&mut text, &mut word.parts);
        Ok((self.at > start).then_some(word))
    }

    /// Text with expansions, up to the closing quote, or to the end of a here-document.
    fn quoted_parts(&mut self, end: Option<u8>) -> Result<Vec<Part>, String> {
        let (mut parts, mut text) = (Vec::new(), Vec::new());
        loop {
            match self.peek() {
                None if end.is_none() => break,
                None => return Err("quote without an end".into()),
                Some(byte) if Some(byte) == end => {
                    self.at += 1;
                    break;
                }
                Some(b'\\') => match self.text.get(self.at + 1) {
                    Some(byte @ (b'$' | b'`' | b'"' | b'\\')) => {
                        text.push(*byte);
                        self.at += 2;
                    }
                    Some(b'\n') => self.at += 2,
                    _ => {
                        text.push(b'\\');
                        self.at += 1;
                    }
                },
                Some(b'$') => {
                    flush(&mut text, &mut parts);
                    parts.push(self.expansion(true)?);
                }
                Some(byte) => {
                    text.push(byte);
                    self.at += 1;
                }
            }
        }
        flush(&mut text, &mut parts);
        Ok(parts)
    }

    fn expansion(&mut self, quoted: bool) -> Result<Part, String> {
        if self.accept(b"`") {
            return Err("backquotes are not known here, use $( )".into());
        }
        self.at += 1;
        if self.starts(b"((") {
            return Err("arithmetic is not known here".into());
        }
        if self.accept(b"(") {
            let script = self.script(&[])?;
            if !self.accept(b")") {
                return Err(format!("`)` expected at byte {}", self.at));
            }
            return Ok(Part::Output { script, quoted });
        }
        if self.accept(b"{") {
            let name = self.parameter();
            let mut default = None;
            if self.accept(b":-") {
                let start = self.at;
                while self.peek().is_some_and(|byte| byte != b'}') {
                    self.at += 1;
                }
                default = Some(self.text[start..self.at].to_vec());
            }
            if name.is_empty() || !self.accept(b"}") {
                return Err(format!("only ${{NAME}} and ${{NAME:-TEXT}} are known here, byte {}", self.at));
            }
            return Ok(Part::Variable { name, default, quoted });
        }
        let name = self.parameter();
        if name.is_empty() {
            return Ok(Part::Text(b"$".to_vec()));
        }
        Ok(Part::Variable { name, default: None, quoted })
    }

    fn parameter(&mut self) -> Vec<u8> {
        match self.peek() {
            Some(byte) if b"?$!@*#".contains(&byte) || byte.is_ascii_digit() => {
                self.at += 1;
                vec![byte]
            }
            _ => self.name(),
        }
    }
}

fn flush(text: &mut Vec<u8>, parts: &mut Vec<Part>) {
    if !text.is_empty() {
        parts.push(Part::Text(std::mem::take(text)));
    }
}
