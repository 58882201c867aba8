//! Finds the events in what was written, and what is wrong with it.

use std::collections::BTreeMap;
use std::fmt;

/// The result of a check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Events that were written and are not whole in any segment.
    pub lost: usize,
    /// Events that are there more than once.
    pub doubled: usize,
    /// Lines that belong to no whole event.
    pub torn: usize,
    /// Segments that do not end with a whole event.
    pub cut: usize,
    /// How many records were counted beyond one for each event.
    pub surplus: i64,
}

impl Verdict {
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lost, doubled, torn, cut, surplus } = self;
        write!(f, "{lost} not whole, {doubled} doubled, {torn} stray lines, {cut} segments cut")?;
        if *surplus == 0 { Ok(()) } else { write!(f, ", {surplus:+} records") }
    }
}

/// Compares segments with `sample`, what the same logger writes for one such event alone. Digits
/// may differ: they are times, thread numbers and the event's own.
pub fn check(segments: &[Vec<u8>], sample: &[u8], ids: impl Iterator<Item = String>) -> Verdict {
    let mut seen: BTreeMap<String, usize> = ids.map(|id| (id, 0)).collect();
    let mut verdict = Verdict::default();
    for segment in segments {
        let mut rest = &segment[..];
        let mut is_whole = true;
        while !rest.is_empty() {
            let whole = event(rest, sample).and_then(|len| Some((len, id(&rest[..len])?)));
            is_whole = whole.is_some();
            let len = match whole {
                Some((len, id)) => {
                    *seen.entry(id).or_default() += 1;
                    len
                }
                None => {
                    verdict.torn += 1;
                    rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |at| at + 1)
                }
            };
            rest = &rest[len..];
        }
        verdict.cut += usize::from(!is_whole);
    }
    verdict.lost = seen.values().filter(|&&count| count == 0).count();
    verdict.doubled = seen.values().filter(|&&count| count > 1).count();
    verdict
}

/// The length of the event that `bytes` begins with, if it is like the sample: with any number
/// where the sample has one, and any padding.
fn event(bytes: &[u8], sample: &[u8]) -> Option<usize> {
    let (mut at, mut like) = (0, 0);
    while like < sample.len() {
        let (run, len) = run(&bytes[at..])?;
        let (run_like, len_like) = self::run(&sample[like..])?;
        if run != run_like {
            return None;
        }
        (at, like) = (at + len, like + len_like);
    }
    Some(at)
}

#[derive(Debug, PartialEq, Eq)]
enum Run {
    Number,
    Padding,
    Byte(u8),
}

/// Returns the first run and its length.
fn run(bytes: &[u8]) -> Option<(Run, usize)> {
    let len = |is_more: fn(&u8) -> bool| bytes.iter().take_while(|byte| is_more(byte)).count();
    Some(match *bytes.first()? {
        b'0'..=b'9' => (Run::Number, len(|byte| byte.is_ascii_digit() || *byte == b'.')),
        b' ' => (Run::Padding, len(|byte| *byte == b' ')),
        byte => (Run::Byte(byte), 1),
    })
}

/// The one id in an event; `None` if there are several.
fn id(event: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(event);
    let mut ids = text.match_indices('w').filter_map(|(at, _)| id_at(&text[at..]));
    let first = ids.next()?;
    ids.all(|other| other == first).then(|| first.to_owned())
}

fn id_at(text: &str) -> Option<&str> {
    let mut len = 0;
    for letter in ['w', 't', 'n'] {
        let rest = text[len..].strip_prefix(letter)?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        len += 1 + digits;
        if digits == 0 {
            return None;
        }
    }
    text[len..].starts_with('e').then(|| &text[..=len])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> impl Iterator<Item = String> {
        ["w0t0n1e", "w0t0n2e"].map(str::to_owned).into_iter()
    }

    fn verdict(segments: &[&str]) -> Verdict {
        let segments: Vec<_> = segments.iter().map(|text| text.as_bytes().to_vec()).collect();
        check(&segments, b"10:00:01.123 begin w0t0n0e\n  end w0t0n0e\n", ids())
    }

    #[test]
    fn whole_events_are_clean_in_any_segment() {
        let [one, two] = [1, 2].map(|n| format!("9:5{n}:10 begin w0t0n{n}e\n  end w0t0n{n}e\n"));
        assert!(verdict(&[&one, "", &two]).is_clean());
        let doubled = verdict(&[&one, &two, &one]);
        assert_eq!(doubled, Verdict { doubled: 1, ..Verdict::default() });
    }

    #[test]
    fn pieces_are_no_events() {
        let [one, two] = [1, 2].map(|n| format!("9:5{n}:10 begin w0t0n{n}e\n  end w0t0n{n}e\n"));
        let (head, tail) = one.split_at(20);
        let cut = verdict(&[head, &format!("{tail}{two}")]);
        assert_eq!(cut, Verdict { lost: 1, torn: 3, cut: 1, ..Verdict::default() });
        let mixed = verdict(&[&format!(
            "{}{two}  end w0t0n1e\n",
            one.split_inclusive('\n').next().unwrap()
        )]);
        assert_eq!((mixed.lost, mixed.cut), (1, 1));
        let of_two = verdict(&["1:1:1 begin w0t0n1e\n  end w0t0n2e\n"]);
        assert_eq!(of_two.lost, 2);
    }
}
