//! The last lines of a source that is read backwards, in the order of the log.

use super::damage::Damage;
use super::{At, ByteSource, Pulled};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

/// Lines in memory.
pub(super) struct Gathered {
    parts: VecDeque<Gather>,
    consumed: usize,
    /// After the last line.
    name: Arc<Path>,
}

enum Gather {
    Line { bytes: Vec<u8>, segment: Arc<Path>, offset: u64, ordinal: u64 },
    Damage(Damage),
}

impl Gathered {
    /// Takes up to `lines` lines of a source that begins with the last one. Keeps that order only
    /// if `newest_first`.
    pub(super) fn of(source: &mut dyn ByteSource, lines: u64, newest_first: bool) -> Self {
        let (mut parts, mut taken) = (VecDeque::new(), 0);
        while taken < lines {
            let part = match source.pull() {
                Pulled::End => break,
                Pulled::Damage(damage) => Gather::Damage(damage),
                Pulled::Bytes => {
                    let (bytes, at) = (source.ready().to_vec(), source.at());
                    let (segment, offset) = (Arc::clone(at.segment), at.offset);
                    let line = Gather::Line { segment, offset, ordinal: at.ordinal, bytes };
                    source.consume(source.ready().len());
                    taken += 1;
                    line
                }
            };
            if newest_first {
                parts.push_back(part);
            } else {
                parts.push_front(part);
            }
        }
        let name = Arc::clone(source.at().segment);
        Self { parts, consumed: 0, name }
    }
}

impl ByteSource for Gathered {
    fn pull(&mut self) -> Pulled {
        match self.parts.pop_front() {
            None => Pulled::End,
            Some(Gather::Damage(damage)) => Pulled::Damage(damage),
            Some(line) => {
                self.parts.push_front(line);
                Pulled::Bytes
            }
        }
    }

    fn put_back(&mut self, damage: Damage) {
        self.parts.push_front(Gather::Damage(damage));
    }

    fn ready(&self) -> &[u8] {
        match self.parts.front() {
            Some(Gather::Line { bytes, .. }) => &bytes[self.consumed..],
            _ => &[],
        }
    }

    fn consume(&mut self, len: usize) {
        self.consumed += len;
        if self.ready().is_empty() {
            self.parts.pop_front();
            self.consumed = 0;
        }
    }

    fn at(&self) -> At<'_> {
        match self.parts.front() {
            Some(Gather::Line { segment, offset, ordinal, .. }) => {
                At { segment, offset: offset + self.consumed as u64, ordinal: *ordinal }
            }
            _ => At { segment: &self.name, offset: 0, ordinal: 0 },
        }
    }
}
