//! Undoes a body's content encoding for metering. What is passed on is never touched: this works on a copy of each piece, and
//! whatever goes wrong here ends the metering of one body and nothing else.

use std::io::{self, Write};

/// Decoded bytes of one body that are read at most. A bomb ends here: what follows is passed on and no longer metered.
const MOST_DECODED: u64 = 512 << 20;
/// The largest window a zstd frame may ask for, as a power of two (8 MB, which RFC 8878 says every decoder must have).
const ZSTD_WINDOW_LOG: u32 = 23;
/// Output is handed on in pieces of this size.
const BUFFER: usize = 16 << 10;

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// gzip.
    Gzip,
    /// zlib, which is what `deflate` means.
    Deflate,
    /// Brotli.
    Brotli,
    /// Zstandard.
    Zstd,
}

impl Encoding {
    /// From a `content-encoding`; `None` for one that is not known, or for several on top of each other.
    pub fn parse(header: &str) -> Option<Encoding> {
        match header.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Some(Encoding::Identity),
            "gzip" | "x-gzip" => Some(Encoding::Gzip),
            "deflate" => Some(Encoding::Deflate),
            "br" => Some(Encoding::Brotli),
            "zstd" => Some(Encoding::Zstd),
            _ => None,
        }
    }
}

/// Whoever reads what comes out.
pub trait Sink {
    /// A piece of the decoded body.
    fn read(&mut self, piece: &[u8]);
}

/// Counts what comes out and refuses more than is ever read.
struct Bounded<S> {
    sink: S,
    left: u64,
}

impl<S: Sink> Write for Bounded<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.left = self.left.checked_sub(length).ok_or_else(|| io::Error::other("too much decoded"))?;
        self.sink.read(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Inner<S: Sink> {
    Identity(Bounded<S>),
    Gzip(Box<flate2::write::MultiGzDecoder<Bounded<S>>>),
    Deflate(Box<flate2::write::ZlibDecoder<Bounded<S>>>),
    Brotli(Box<brotli_decompressor::DecompressorWriter<Bounded<S>>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Bounded<S>>>),
}

/// A decoder that is fed.
pub struct Decoder<S: Sink> {
    inner: Inner<S>,
    failed: bool,
}

impl<S: Sink> Decoder<S> {
    /// A decoder at the beginning of a body.
    pub fn new(encoding: Encoding, sink: S) -> Decoder<S> {
        Decoder::bounded(encoding, sink, MOST_DECODED)
    }

    fn bounded(encoding: Encoding, sink: S, most: u64) -> Decoder<S> {
        let sink = Bounded { sink, left: most };
        let inner = match encoding {
            Encoding::Identity => Inner::Identity(sink),
            Encoding::Gzip => Inner::Gzip(Box::new(flate2::write::MultiGzDecoder::new(sink))),
            Encoding::Deflate => Inner::Deflate(Box::new(flate2::write::ZlibDecoder::new(sink))),
            Encoding::Brotli => {
                Inner::Brotli(Box::new(brotli_decompressor::DecompressorWriter::new(sink, BUFFER)))
            }
            Encoding::Zstd => {
                let mut decoder = zstd::stream::write::Decoder::new(sink)
                    .expect("a zstd decoder without a dictionary needs memory alone");
                decoder.window_log_max(ZSTD_WINDOW_LOG).expect("the limit is within what zstd allows");
                Inner::Zstd(Box::new(decoder))
            }
        };
        Decoder { inner, failed: false }
    }

    /// Reads a piece of the body. After a failure it reads no more.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed || bytes.is_empty() {
            return;
        }
        // A stream must be metered as it goes, so that what is buffered inside is handed on after every piece.
        let done = match &mut self.inner {
            Inner::Identity(sink) => sink.write_all(bytes),
            Inner::Gzip(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
            Inner::Deflate(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
            Inner::Brotli(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
            Inner::Zstd(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
        };
        self.failed = done.is_err();
    }

    /// Whether the body could not be decoded to here.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// The sink, to look at.
    pub fn sink(&mut self) -> &mut S {
        match &mut self.inner {
            Inner::Identity(sink) => &mut sink.sink,
            Inner::Gzip(decoder) => &mut decoder.get_mut().sink,
            Inner::Deflate(decoder) => &mut decoder.get_mut().sink,
            Inner::Brotli(decoder) => &mut decoder.get_mut().sink,
            Inner::Zstd(decoder) => &mut decoder.get_mut().sink,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Kept(Vec<u8>, usize);

    impl Sink for Kept {
        fn read(&mut self, piece: &[u8]) {
            self.1 += piece.len();
            if self.0.len() < 1 << 20 {
                self.0.extend_from_slice(piece);
            }
        }
    }

    const TEXT: &[u8] = b"data: {\"usage\":{\"input_tokens\":3}}\n\ndata: [DONE]\n\n";
    /// `TEXT` by the brotli program at its best level.
    const BROTLI: &[u8] = include_bytes!("../../tests/data/stream.br");

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn packed() -> Vec<(Encoding, Vec<u8>)> {
        vec![
            (Encoding::Identity, TEXT.to_vec()),
            (Encoding::Gzip, gzip(TEXT)),
            (Encoding::Deflate, zlib(TEXT)),
            (Encoding::Brotli, BROTLI.to_vec()),
            (Encoding::Zstd, zstd::encode_all(TEXT, 3).unwrap()),
        ]
    }

    #[test]
    fn decoder_gives_the_same_wherever_the_body_is_cut() {
        for (encoding, bytes) in packed() {
            for cut in 0..=bytes.len() {
                let mut decoder = Decoder::new(encoding, Kept::default());
                decoder.push(&bytes[..cut]);
                decoder.push(&bytes[cut..]);
                assert_eq!(decoder.sink().0, TEXT, "{encoding:?} cut at {cut}");
                assert!(!decoder.has_failed());
            }
        }
    }

    #[test]
    fn decoder_hands_on_what_it_has_before_the_body_ends() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(TEXT).unwrap();
        encoder.flush().unwrap();
        let mut decoder = Decoder::new(Encoding::Gzip, Kept::default());
        decoder.push(encoder.get_ref());
        assert_eq!(decoder.sink().0, TEXT);
    }

    #[test]
    fn decoder_stops_reading_a_bomb_at_its_bound() {
        let zeros = vec![0; 8 << 20];
        for (encoding, bytes) in [
            (Encoding::Gzip, gzip(&zeros)),
            (Encoding::Deflate, zlib(&zeros)),
            (Encoding::Zstd, zstd::encode_all(zeros.as_slice(), 19).unwrap()),
            (Encoding::Identity, zeros.clone()),
        ] {
            let mut decoder = Decoder::bounded(encoding, Kept::default(), 1 << 20);
            for piece in bytes.chunks(1000) {
                decoder.push(piece);
            }
            assert!(decoder.has_failed(), "{encoding:?}");
            assert!(decoder.sink().1 <= 1 << 20);
        }
    }

    #[test]
    fn decoder_refuses_a_zstd_window_that_is_too_large() {
        // A frame header that asks for a window of 2 GB, and nothing that would need it.
        let mut decoder = Decoder::new(Encoding::Zstd, Kept::default());
        decoder.push(&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00]);
        assert!(decoder.has_failed());
    }

    proptest! {
        #[test]
        fn decoder_never_panics(bytes in any::<Vec<u8>>(), cut in any::<usize>(), which in 0..5_usize, broken in any::<(usize, u8)>()) {
            let (encoding, mut good) = packed().swap_remove(which);
            for bytes in [bytes, { let at = broken.0 % good.len(); good[at] ^= broken.1; good }] {
                let cut = if bytes.is_empty() { 0 } else { cut % bytes.len() };
                let mut decoder = Decoder::bounded(encoding, Kept::default(), 1 << 16);
                decoder.push(&bytes[..cut]);
                decoder.push(&bytes[cut..]);
            }
        }
    }
}
