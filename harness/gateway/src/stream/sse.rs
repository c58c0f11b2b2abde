//! Server-sent events as they pass: which bytes are an event's data, and where an event ends. Nothing is collected, so a line
//! without an end costs no memory.

/// Longest field name or event name that is looked at.
const NAME_BYTES: usize = 64;

/// Whoever reads the data. Data of one event may come in pieces; lines of one event are joined by a newline.
pub trait DataSink {
    /// A piece of the current event's data.
    fn data(&mut self, piece: &[u8]);
    /// The current event is over; one without any data is not told.
    fn end(&mut self);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The first bytes of the stream, where a byte order mark may stand.
    Mark(u8),
    /// In the name of a field.
    Name,
    /// After `data:`, where one space is not data.
    Space,
    /// In data.
    Data,
    /// In a line that means nothing here.
    Other,
}

const MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// The splitter. Lines end in LF, CRLF or CR, as the standard has it.
#[derive(Debug)]
pub struct SseReader {
    place: Place,
    name: Vec<u8>,
    line_is_empty: bool,
    /// The last byte was CR: an LF after it is a part of the same line end.
    after_return: bool,
    event_has_data: bool,
}

impl Default for SseReader {
    fn default() -> SseReader {
        SseReader {
            place: Place::Mark(0),
            name: Vec::new(),
            line_is_empty: true,
            after_return: false,
            event_has_data: false,
        }
    }
}

impl SseReader {
    /// Reads a piece of the stream.
    pub fn push(&mut self, bytes: &[u8], sink: &mut dyn DataSink) {
        let mut at = 0;
        while at < bytes.len() {
            if self.place == Place::Data || self.place == Place::Other {
                let end = memchr::memchr2(b'\n', b'\r', &bytes[at..]).map_or(bytes.len(), |end| at + end);
                if self.place == Place::Data && end > at {
                    sink.data(&bytes[at..end]);
                }
                if end > at {
                    self.after_return = false;
                }
                at = end;
                if at == bytes.len() {
                    return;
                }
            }
            self.byte(bytes[at], sink);
            at += 1;
        }
    }

    /// The stream is over: an event that was not closed by an empty line is told all the same, because providers do cut
    /// streams and what was said counts.
    pub fn finish(&mut self, sink: &mut dyn DataSink) {
        if std::mem::take(&mut self.event_has_data) {
            sink.end();
        }
    }

    fn byte(&mut self, byte: u8, sink: &mut dyn DataSink) {
        if let Place::Mark(seen) = self.place {
            if byte == MARK[usize::from(seen)] {
                self.place = if seen == 2 { Place::Name } else { Place::Mark(seen + 1) };
                return;
            }
            // What began like a mark and is none was the beginning of a name that means nothing.
            self.place = if seen == 0 { Place::Name } else { Place::Other };
            self.line_is_empty = seen == 0;
        }
        if byte == b'\n' && std::mem::take(&mut self.after_return) {
            return;
        }
        self.after_return = byte == b'\r';
        if byte == b'\n' || byte == b'\r' {
            self.line_end(sink);
            return;
        }
        self.line_is_empty = false;
        match self.place {
            Place::Name if byte == b':' => {
                if self.name == b"data" {
                    self.begin_data(sink);
                    self.place = Place::Space;
                } else {
                    self.place = Place::Other;
                }
            }
            Place::Name if self.name.len() < NAME_BYTES => self.name.push(byte),
            Place::Name => self.place = Place::Other,
            Place::Space => {
                self.place = Place::Data;
                if byte != b' ' {
                    sink.data(&[byte]);
                }
            }
            Place::Data => sink.data(&[byte]),
            Place::Other | Place::Mark(_) => {}
        }
    }

    fn begin_data(&mut self, sink: &mut dyn DataSink) {
        if self.event_has_data {
            sink.data(b"\n");
        }
        self.event_has_data = true;
    }

    fn line_end(&mut self, sink: &mut dyn DataSink) {
        if self.line_is_empty {
            self.finish(sink);
        } else if self.place == Place::Name && self.name == b"data" {
            // A field without a colon has an empty value.
            self.begin_data(sink);
        }
        self.name.clear();
        self.place = Place::Name;
        self.line_is_empty = true;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Collected(Vec<Vec<u8>>, Vec<u8>);

    impl DataSink for Collected {
        fn data(&mut self, piece: &[u8]) {
            self.1.extend_from_slice(piece);
        }
        fn end(&mut self) {
            self.0.push(std::mem::take(&mut self.1));
        }
    }

    fn events(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut reader = SseReader::default();
        let mut sink = Collected::default();
        for piece in pieces {
            reader.push(piece, &mut sink);
        }
        reader.finish(&mut sink);
        assert_eq!(sink.1, b"", "data outside any event");
        sink.0
    }

    const STREAM: &[u8] = b"\xef\xbb\xbf: hello\r\n\r\nevent: a\r\ndata: {\"x\":1}\r\n\r\ndata:two\rdata:  lines\r\rid: 7\ndata\n\n\
        retry\n\ndata: \xff\xfe\n\ndatum: no\ndata: last";

    #[test]
    fn sse_reader_reads_every_line_end_comment_mark_and_cut() {
        let expected: Vec<&[u8]> = vec![b"{\"x\":1}", b"two\n lines", b"", b"\xff\xfe", b"last"];
        assert_eq!(events(&[STREAM]), expected);
        for cut in 0..=STREAM.len() {
            assert_eq!(events(&[&STREAM[..cut], &STREAM[cut..]]), expected, "cut at {cut}");
        }
        assert_eq!(events(&STREAM.chunks(1).collect::<Vec<_>>()), expected);
    }

    #[test]
    fn sse_reader_passes_an_endless_line_on_and_keeps_none_of_it() {
        struct Count(usize);
        impl DataSink for Count {
            fn data(&mut self, piece: &[u8]) {
                self.0 += piece.len();
            }
            fn end(&mut self) {}
        }
        let (mut reader, mut sink) = (SseReader::default(), Count(0));
        reader.push(b"data: ", &mut sink);
        for _ in 0..100 {
            reader.push(&[b'x'; 10_000], &mut sink);
        }
        reader.push(b"\n", &mut sink);
        for _ in 0..100 {
            reader.push(&[b'n'; 10_000], &mut sink);
        }
        assert_eq!(sink.0, 1_000_000);
        assert!(reader.name.capacity() <= 2 * NAME_BYTES);
    }

    proptest! {
        #[test]
        fn sse_reader_never_panics_and_does_not_depend_on_the_cuts(
            bytes in proptest::collection::vec(proptest::sample::select(b"data: \n\r:x\xef\xbb\xbf".to_vec()), 0..120),
            cut in 0..120_usize,
        ) {
            let cut = cut.min(bytes.len());
            prop_assert_eq!(events(&[&bytes]), events(&[&bytes[..cut], &bytes[cut..]]));
        }
    }
}
