//! Records that have their writer, and show whether they are complete.

use fastrand::Rng;

/// Record `seq` of a worker: one line. Its filler follows from both numbers, so that a wrong byte
/// shows.
pub fn line(worker: u32, seq: u64) -> String {
    let mut rng = Rng::with_seed(u64::from(worker) << 40 ^ seq);
    let letters = rng.u64(..160);
    let filler = (0..letters).map(|_| char::from(b'a' + rng.u64(..26) as u8));
    format!("{worker} {seq} {}.\n", filler.collect::<String>())
}

/// The writer and number of a record, without its line break; `None` if it is no whole record.
pub fn parse(text: &[u8]) -> Option<(u32, u64)> {
    let text = std::str::from_utf8(text).ok()?;
    let (worker, rest) = text.split_once(' ')?;
    let (seq, _) = rest.split_once(' ')?;
    let (worker, seq) = (worker.parse().ok()?, seq.parse().ok()?);
    (line(worker, seq).trim_end() == text).then_some((worker, seq))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_with_one_byte_wrong_missing_or_too_many_is_none() {
        let whole = line(3, 1_000_000);
        let whole = whole.trim_end().as_bytes();
        assert_eq!(parse(whole), Some((3, 1_000_000)));
        for at in 0..whole.len() {
            let mut wrong = whole.to_vec();
            wrong[at] ^= 1;
            assert_eq!(parse(&wrong), None, "{at}");
            assert_eq!(parse(&whole[..at]), None, "{at}");
        }
        assert_eq!(parse(&[whole, b"x"].concat()), None);
        assert_eq!(parse(&[b"3 1 \0", whole].concat()), None);
    }
}
