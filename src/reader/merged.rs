//! The origins of an archived log as one stream, ordered by the times at which their segments were
//! finished.
//!
//! The listing shows the order, so each segment is opened when its turn comes, and closed before
//! the next one is. So one file is open at a time, whatever the number of origins.

use super::damage::Damage;
use super::shelf::Shelf;
use super::{At, ByteSource, Pulled};
use crate::error::Result;
use crate::segment::name::{Key, Name};
use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

/// Opens the source of one segment.
type Opener = Box<dyn Fn(Shelf) -> Result<Box<dyn ByteSource>> + Send>;

pub(super) struct Merged {
    open: Opener,
    order: Order,
    parts: Vec<Part>,
    /// The next segment of each origin that has one, and the origin's index.
    waiting: BTreeSet<(Key, usize)>,
    /// The segment that is being read.
    source: Option<Box<dyn ByteSource>>,
    /// The number of segments opened.
    opened: u64,
    damage: Option<Damage>,
    /// Between segments.
    name: Arc<Path>,
}

/// Which segment comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Oldest,
    Newest,
}

/// An origin.
struct Part {
    shelf: Shelf,
    /// Its segments that are still to come, oldest first.
    names: VecDeque<Name>,
}

impl Merged {
    pub(super) fn new(shelves: Vec<Shelf>, order: Order, name: Arc<Path>, open: Opener) -> Self {
        let part = |shelf: Shelf| Part { names: shelf.archived().into(), shelf };
        let parts: Vec<_> = shelves.into_iter().map(part).collect();
        let next = |(at, part): (usize, &Part)| Some((part.next(order)?.key, at));
        let waiting = parts.iter().enumerate().filter_map(next).collect();
        let (source, opened, damage) = (None, 0, None);
        Self { open, order, parts, waiting, source, opened, damage, name }
    }

    /// Opens the next segment; `None` after the last one.
    fn open_next(&mut self) -> Option<Result<Box<dyn ByteSource>>> {
        let (_, at) = match self.order {
            Order::Oldest => self.waiting.pop_first(),
            Order::Newest => self.waiting.pop_last(),
        }?;
        let part = &mut self.parts[at];
        let name = match self.order {
            Order::Oldest => part.names.pop_front(),
            Order::Newest => part.names.pop_back(),
        }?;
        self.waiting.extend(part.next(self.order).map(|next| (next.key, at)));
        self.opened += 1;
        Some((self.open)(part.shelf.only(name)))
    }
}

impl Part {
    fn next(&self, order: Order) -> Option<&Name> {
        match order {
            Order::Oldest => self.names.front(),
            Order::Newest => self.names.back(),
        }
    }
}

impl ByteSource for Merged {
    fn pull(&mut self) -> Pulled {
        loop {
            if let Some(damage) = self.damage.take() {
                return Pulled::Damage(damage);
            }
            let Some(source) = &mut self.source else {
                match self.open_next() {
                    None => return Pulled::End,
                    Some(Ok(source)) => self.source = Some(source),
                    Some(Err(error)) => {
                        return Pulled::Damage(Damage::unreadable(&*self.name, 0, error));
                    }
                }
                continue;
            };
            match source.pull() {
                Pulled::End => self.source = None,
                pulled => return pulled,
            }
        }
    }

    fn put_back(&mut self, damage: Damage) {
        self.damage = Some(damage);
    }

    fn ready(&self) -> &[u8] {
        self.source.as_ref().map_or(&[], |source| source.ready())
    }

    fn consume(&mut self, len: usize) {
        if let Some(source) = &mut self.source {
            source.consume(len);
        }
    }

    fn at(&self) -> At<'_> {
        match &self.source {
            Some(source) => At { ordinal: self.opened, ..source.at() },
            None => At { segment: &self.name, offset: 0, ordinal: self.opened },
        }
    }
}
