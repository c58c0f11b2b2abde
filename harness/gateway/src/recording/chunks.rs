//! Cuts bytes where their own content says so: what an agent sends again, before and after something new, is cut into the same
//! pieces, and kept once.

/// No piece is shorter, but for the last.
const SHORTEST: usize = 2 << 10;
/// No piece is longer.
pub(super) const LONGEST: usize = 64 << 10;
/// A cut at one place of eight thousand, on average.
const MASK: u64 = 0x1fff << 40;

/// A random number for each byte.
static GEAR: [u64; 256] = gear();

const fn gear() -> [u64; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    // SplitMix64; the numbers are a part of the format only in so far as equal bytes are found equal.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    while at < 256 {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        table[at] = z ^ (z >> 31);
        at += 1;
    }
    table
}

/// Where the first piece of these bytes ends; `None` when more may belong to it.
pub(super) fn cut(bytes: &[u8]) -> Option<usize> {
    let mut sum = 0_u64;
    let most = bytes.len().min(LONGEST);
    // A cut depends on the 64 bytes before it.
    for (at, byte) in bytes.iter().enumerate().take(most).skip(SHORTEST - 64) {
        sum = (sum << 1).wrapping_add(GEAR[usize::from(*byte)]);
        if at >= SHORTEST && sum & MASK == 0 {
            return Some(at + 1);
        }
    }
    (bytes.len() >= LONGEST).then_some(LONGEST)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn pieces(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(end) = cut(bytes) {
            all.push(bytes[..end].to_vec());
            bytes = &bytes[end..];
        }
        all.push(bytes.to_vec());
        all
    }

    #[test]
    fn cut_finds_the_same_pieces_again_around_what_is_new() {
        let text: Vec<u8> = (0..400_000_u64).flat_map(|i| (i * i % 9973).to_string().into_bytes()).collect();
        let changed = [&text[..500_000], b"something new", &text[500_000..]].concat();
        let before: HashSet<Vec<u8>> = pieces(&text).into_iter().collect();
        let after = pieces(&changed);
        assert_eq!(after.concat(), changed);
        assert!(after.iter().all(|piece| piece.len() <= LONGEST));
        assert!(after.len() > 50, "{}", after.len());
        let new = after.iter().filter(|piece| !before.contains(*piece)).count();
        assert!(new <= 3, "{new} of {} are new", after.len());
    }

    #[test]
    fn cut_of_one_byte_over_and_over_is_bounded() {
        assert_eq!(pieces(&[7; 200_000]).concat(), [7; 200_000]);
        assert!(pieces(&[7; 200_000]).len() <= 100);
        assert_eq!(cut(b"short"), None);
    }
}
