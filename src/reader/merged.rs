//! The origins of an archived log as one stream, ordered by the times at which their segments were
//! finished.

use super::damage::Damage;
use super::shelf::Shelf;
use super::{At, ByteSource, Pulled};
use crate::error::Result;
use crate::segment::name::{Key, Name};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// Opens the source of one origin.
type Opener = Box<dyn Fn(Shelf) -> Result<Box<dyn ByteSource>> + Send>;

pub(super) struct Merged {
    open: Opener,
    log: String,
    order: Order,
    parts: Vec<Part>,
    /// The one whose bytes are ready.
    current: Option<usize>,
    /// Before any byte is ready.
    name: Arc<Path>,
}

/// Which segment comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Oldest,
    Newest,
}

struct Part {
    shelf: Shelf,
    /// Opened when it is its turn: it fetches a segment.
    source: Option<Box<dyn ByteSource>>,
    /// The time at which its next segment was finished; `None` after its last one.
    next: Option<SystemTime>,
    /// The segment that it is reading.
    ordinal: Option<u64>,
}

impl Merged {
    pub(super) fn new(
        shelves: Vec<Shelf>,
        log: String,
        order: Order,
        name: Arc<Path>,
        open: Opener,
    ) -> Self {
        let part = |shelf: Shelf| {
            let next = shelf.ends().map(|(oldest, newest)| match order {
                Order::Oldest => oldest,
                Order::Newest => newest,
            });
            Part { shelf, source: None, next, ordinal: None }
        };
        let parts = shelves.into_iter().map(part).collect();
        Self { open, log, order, parts, current: None, name }
    }

    /// Chooses the origin with the next segment; `None` after the last one.
    fn choose(&mut self) -> Option<Result<usize, Damage>> {
        let waiting = self.parts.iter().enumerate().filter_map(|(at, part)| Some((part.next?, at)));
        let (_, at) = match self.order {
            Order::Oldest => waiting.min(),
            Order::Newest => waiting.max(),
        }?;
        let part = &mut self.parts[at];
        if part.source.is_none() {
            match (self.open)(part.shelf.clone()) {
                Ok(source) => part.source = Some(source),
                Err(error) => {
                    part.next = None;
                    return Some(Err(Damage::unreadable(&*self.name, 0, error)));
                }
            }
        }
        Some(Ok(at))
    }

    fn current(&self) -> Option<&dyn ByteSource> {
        self.parts[self.current?].source.as_deref().map(|source| source as &dyn ByteSource)
    }

    fn current_mut(&mut self) -> Option<&mut Box<dyn ByteSource>> {
        self.parts[self.current?].source.as_mut()
    }
}

impl ByteSource for Merged {
    fn pull(&mut self) -> Pulled {
        loop {
            let Some(at) = self.current else {
                match self.choose() {
                    None => return Pulled::End,
                    Some(Err(damage)) => return Pulled::Damage(damage),
                    Some(Ok(at)) => self.current = Some(at),
                }
                continue;
            };
            let part = &mut self.parts[at];
            let Some(source) = &mut part.source else { return Pulled::End };
            match source.pull() {
                Pulled::Bytes => {
                    let now = source.at();
                    let is_same = part.ordinal.is_none_or(|ordinal| ordinal == now.ordinal);
                    part.ordinal = Some(now.ordinal);
                    if is_same {
                        return Pulled::Bytes;
                    }
                    let name = now.segment.file_name().and_then(|name| name.to_str());
                    let key = name.and_then(|name| Name::parse(&self.log, name)).map(|it| it.key);
                    part.next = key.and_then(Key::time).map(SystemTime::from).or(part.next);
                    self.current = None;
                }
                Pulled::Damage(damage) => return Pulled::Damage(damage),
                Pulled::End => {
                    (part.next, part.source) = (None, None);
                    self.current = None;
                }
            }
        }
    }

    fn put_back(&mut self, damage: Damage) {
        if let Some(source) = self.current_mut() {
            source.put_back(damage);
        }
    }

    fn ready(&self) -> &[u8] {
        self.current().map_or(&[], |source| source.ready())
    }

    fn consume(&mut self, len: usize) {
        if let Some(source) = self.current_mut() {
            source.consume(len);
        }
    }

    fn at(&self) -> At<'_> {
        match self.current.zip(self.current()) {
            Some((at, source)) => {
                let within = source.at();
                let ordinal = within.ordinal * self.parts.len() as u64 + at as u64;
                At { ordinal, ..within }
            }
            None => At { segment: &self.name, offset: 0, ordinal: 0 },
        }
    }
}
