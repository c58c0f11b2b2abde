//! Compares the crate with the modules as they were, on texts made of likely pieces. Prints "done NAME" for every test that held.
#[allow(dead_code, unused)]
mod reference {
    // In the folder of that name.
    #[path = "header.rs"]
    pub mod header;
    #[path = "labels.rs"]
    pub mod labels;
    #[path = "logfmt.rs"]
    pub mod logfmt;
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }

    fn text(&mut self, pieces: &[&str]) -> String {
        (0..self.roll(14)).map(|_| pieces[self.roll(pieces.len())]).collect()
    }

    /// A good text with up to two places changed or cut out.
    fn damaged(&mut self, good: &str, pieces: &[&str]) -> String {
        let mut text: Vec<char> = good.chars().collect();
        for _ in 0..self.roll(3) {
            let at = self.roll(text.len() + 1);
            let end = (at + self.roll(3)).min(text.len());
            text.splice(at..end, pieces[self.roll(pieces.len())].chars());
        }
        if self.roll(4) == 0 {
            let len = self.roll(text.len() + 1);
            text.truncate(len);
        }
        text.into_iter().collect()
    }
}

macro_rules! outcome {
    ($parse:expr, $text:expr, $ok:expr) => {
        match $parse($text) {
            Ok(value) => Ok($ok(value)),
            Err(error) => Err((error.position(), error.is_incomplete(), error.to_string())),
        }
    };
}

fn same<T: PartialEq + std::fmt::Debug>(text: &str, old: T, new: T) -> bool {
    if old != new {
        println!("for {text:?}: {new:?}, was {old:?}");
    }
    old == new
}

fn labels(text: &str) -> bool {
    same(text, outcome!(reference::labels::parse, text, |v| v), outcome!(attrs::labels::parse, text, |v| v))
}

fn logfmt(text: &str) -> bool {
    same(text, outcome!(reference::logfmt::parse, text, |v| v), outcome!(attrs::logfmt::parse, text, |v| v))
}

fn header(text: &str) -> bool {
    let old = outcome!(reference::header::parse, text, |h: reference::header::Header| (h.value, h.parameters));
    let new = outcome!(attrs::header::parse, text, |h: attrs::header::Header| (h.value, h.parameters));
    same(text, old, new)
}

fn run(name: &str, check: fn(&str) -> bool, good: &[&str], pieces: &[&str]) {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut held = good.iter().all(|text| {
        let cuts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
        cuts.into_iter().all(|at| check(&text[..at]))
    });
    for round in 0..60_000 {
        let base = good[dice.roll(good.len())];
        let text = if round % 3 == 0 { dice.text(pieces) } else { dice.damaged(base, pieces) };
        held = held && check(&text);
    }
    if held {
        println!("done {name}");
    }
}

fn writers() -> bool {
    let pieces = ["", "a", "B c", "\"", "\\", "\n", "\t", "\r", "\0", "\u{7f}", "\u{85}", "ä", "=", "x/y", "€", "1", "{", ";"];
    let mut dice = Dice(88172645463325252);
    (0..20_000).all(|_| {
        let pairs: Vec<(String, String)> = (0..dice.roll(4)).map(|i| (format!("k{i}"), dice.text(&pieces))).collect();
        let value = dice.text(&pieces);
        let old = reference::header::Header { value: value.clone(), parameters: pairs.clone() };
        let new = attrs::header::Header { value: value.clone(), parameters: pairs.clone() };
        same("labels::write", reference::labels::write(&pairs), attrs::labels::write(&pairs))
            && same("logfmt::write", reference::logfmt::write(&pairs), attrs::logfmt::write(&pairs))
            && same("header::write", reference::header::write(&old), attrs::header::write(&new))
            && same("labels::quote", reference::labels::quote(&value), attrs::labels::quote(&value))
            && same("logfmt::quote", reference::logfmt::quote(&value), attrs::logfmt::quote(&value))
            && same("header::quote", reference::header::quote(&value), attrs::header::quote(&value))
    })
}

/// Compiles only if everything public is still there; runs only a little.
fn interface() -> bool {
    fn is_error<E: std::error::Error + Clone + Eq + std::fmt::Debug + Send + Sync + 'static>(error: &E) -> bool {
        *error == error.clone() && !format!("{error:?}").is_empty()
    }
    let label: attrs::labels::LabelError = attrs::labels::parse("{").unwrap_err();
    let log: attrs::logfmt::LogfmtError = attrs::logfmt::parse("=").unwrap_err();
    let head: attrs::header::HeaderError = attrs::header::parse("a=").unwrap_err();
    let empty: attrs::header::Header = Default::default();
    let pair: fn(&[(String, String)]) -> String = attrs::labels::write;
    is_error(&label) && is_error(&log) && is_error(&head)
        && label.is_incomplete() && !log.is_incomplete() && head.position() == 1
        && label != attrs::labels::parse(" {").unwrap_err()
        && empty == empty.clone() && format!("{empty:?}").contains("Header") && pair(&[]) == "{}"
}

fn main() {
    let common = [
        "\"", "\\", "\\n", "\\t", "\\\"", "\\\\", "\\u{e4}", "\\u{1F600}", "\\u{d800}", "\\u{000041}", "\\u{0000041}", "\\u{}", "\\u", "\\u{4", "\\x",
        "\\ä", " ", "\t", "\n", "\r", "\0", "ä", "€", "=", "a", "B", "_", "7", "-", ",", ";", "}", "{",
    ];
    run("labels_parse_same", labels, &[
        r#"{job="api", path="/a \"b\"\n\u{e4}", _x9="" ,}"#, "{}", " \t{ a = \"1\" , b\t=\t\"2\" } ", r#"{a="1",a="2"}"#, r#"{a="1",b="\\\t\u{10ffff}",a ="#,
        "{a=\"line\nbreak\u{7f}\"}", r#"{9a="1"}"#, r#"{ä="1"}"#, r#"{a="1"} x"#, r#"{,}"#, r#"{a="\u{0000041}"}"#, r#"{A="\u{110000}"}"#,
    ], &common);
    run("logfmt_parse_same", logfmt, &[
        r#"level=info msg="two words" retry a= b="" level=warn"#, "", "  \t a  ", r#"a="\n\t\"\\\u{e4}" b"#, r#"a=b=c"#, r#"a="b"c"#, "a=\"x\ty\"", "a=\"x\ny\"",
        r#"a "b""#, "a\u{7f}b=1", r#"{ä}=€,; x={1}"#, r#"a=1 b=2 a="3" b a"#, r#"a="\u{0000041}""#,
    ], &common);
    run("header_parse_same", header, &[
        r#"text/html; Charset=utf-8; title="a \"b\"""#, " a ;; ; x=1;;", "a", "", "a b", "a;b", "a; b =c", "a;b= c", "a;B=\"\\n\\t\\u{e4}\\ä\\\n\"", "a;b=\"x\ty\"", "a;b=\"x\ny\"",
        "a;b=1;B=2;b=\"3\"", "a;b=\"\"", "a;b=", "a;b=c\"d\"", r#"a;b="c"d"#, "a;b=\"c\" ; d=e ", "a/b+c|d~e^f`g",
    ], &common);
    if writers() {
        println!("done writers_same");
    }
    if interface() {
        println!("done public_interface");
    }
}
