//! A directory, its files and the handles on them: as much of a file system as the protocol uses.

use std::hash::{Hash, Hasher};

/// A set of records, one bit each but the highest.
pub type Records = u16;
/// A file's number. Renumbered after every step, so it means nothing once no worker holds the file.
pub type Inode = u8;

/// Backups that may exist at once, and temporaries.
pub const BACKUPS: u8 = 8;
const TEMPS: u8 = 7;
const NAMES: usize = 2 + TEMPS as usize + 2 * BACKUPS as usize;
const FILES: usize = 16;

/// A name in the log's directory. `n` of a backup is a time stamp, or its number, by naming.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Name {
    /// `app.log`
    Log,
    /// `app.log.lock`
    Lock,
    /// `.app.log.<random>.tmp`
    Temp(u8),
    /// `app.log.<n>`
    Plain(u8),
    /// `app.log.<n>.gz`
    Gz(u8),
}

impl Name {
    fn index(self) -> usize {
        match self {
            Name::Log => 0,
            Name::Lock => 1,
            Name::Temp(k) => 2 + usize::from(k),
            Name::Plain(n) => 2 + usize::from(TEMPS + n - 1),
            Name::Gz(n) => 2 + usize::from(TEMPS + BACKUPS + n - 1),
        }
    }

    /// Every possible name, in the order of their indices.
    pub fn all() -> impl Iterator<Item = Name> {
        [Name::Log, Name::Lock]
            .into_iter()
            .chain((0..TEMPS).map(Name::Temp))
            .chain((1..=BACKUPS).map(Name::Plain))
            .chain((1..=BACKUPS).map(Name::Gz))
    }
}

/// The content of a file. `whole` is false for a `.gz` that is still being written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct File {
    /// The records in it; their order within a file is the order of appending.
    pub records: Records,
    /// Whether its content is complete.
    pub whole: bool,
}

/// The kind of `flock` a handle has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flock {
    /// None.
    Unlocked,
    /// `LOCK_SH`: a lease.
    Shared,
    /// `LOCK_EX`.
    Exclusive,
}

/// An open file. Dropping it closes it, and with it goes its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle {
    /// The file.
    pub file: Inode,
    /// The lock this handle has on it.
    pub flock: Flock,
}

/// The directory and its files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    names: [Option<Inode>; NAMES],
    files: [File; FILES],
}

impl Hash for Disk {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        for names in self.names.chunks(8) {
            hasher.write_u64(
                names.iter().fold(0, |all, name| all << 8 | name.map_or(0xff, u64::from)),
            );
        }
        for files in self.files.chunks(4) {
            let pack = |file: &File| u64::from(file.records) | u64::from(file.whole) << 15;
            hasher.write_u64(files.iter().fold(0, |all, file| all << 16 | pack(file)));
        }
    }
}

impl Disk {
    /// `stat`: the file that `name` names.
    pub fn stat(&self, name: Name) -> Option<Inode> {
        self.names[name.index()]
    }

    /// Whether a file has the name `name`.
    pub fn has(&self, name: Name) -> bool {
        self.stat(name).is_some()
    }

    /// `open` of what exists.
    pub fn open(&self, name: Name) -> Option<Handle> {
        self.stat(name).map(|file| Handle { file, flock: Flock::Unlocked })
    }

    /// `open(O_CREAT | O_EXCL)` at a free name; `in_use` are the files that handles keep alive.
    pub fn create(&mut self, name: Name, in_use: impl Iterator<Item = Inode>) -> Handle {
        let mut taken = [false; FILES];
        in_use
            .chain(self.names.iter().flatten().copied())
            .for_each(|i| taken[usize::from(i)] = true);
        let free = taken.iter().position(|taken| !taken).expect("BUG: FILES is too small");
        self.files[free] = File::default();
        self.names[name.index()] = Some(free as Inode);
        Handle { file: free as Inode, flock: Flock::Unlocked }
    }

    /// `unlink`; does nothing if there is no such name.
    pub fn unlink(&mut self, name: Name) {
        self.names[name.index()] = None;
    }

    /// `rename`, replacing any file at `to`. False if there is no `from`.
    pub fn rename(&mut self, from: Name, to: Name) -> bool {
        let Some(file) = self.names[from.index()].take() else { return false };
        self.names[to.index()] = Some(file);
        true
    }

    /// `renameat2(RENAME_NOREPLACE)`. False if there is no `from`, or a file at `to`.
    pub fn rename_noreplace(&mut self, from: Name, to: Name) -> bool {
        !self.has(to) && self.rename(from, to)
    }

    /// `link`: a second name. False if there is no `from`, or a file at `to`.
    pub fn link(&mut self, from: Name, to: Name) -> bool {
        let is_free = self.has(from) && !self.has(to);
        if is_free {
            self.names[to.index()] = self.names[from.index()];
        }
        is_free
    }

    /// `renameat2(RENAME_EXCHANGE)`. False if there is no file at either name.
    pub fn exchange(&mut self, a: Name, b: Name) -> bool {
        let both = self.has(a) && self.has(b);
        if both {
            self.names.swap(a.index(), b.index());
        }
        both
    }

    /// The plain backup that is also the file at `name`, if any.
    pub fn plain_of(&self, name: Name) -> Option<u8> {
        let file = self.stat(name)?;
        (1..=BACKUPS).find(|&n| self.stat(Name::Plain(n)) == Some(file))
    }

    /// A file's content.
    pub fn file(&self, file: Inode) -> &File {
        &self.files[usize::from(file)]
    }

    /// A file's content, for a change.
    pub fn file_mut(&mut self, file: Inode) -> &mut File {
        &mut self.files[usize::from(file)]
    }

    /// The file at `name`, if any.
    pub fn at(&self, name: Name) -> Option<&File> {
        self.stat(name).map(|file| self.file(file))
    }

    /// Whether a backup of that number exists, in either form.
    pub fn has_backup(&self, n: u8) -> bool {
        self.has(Name::Plain(n)) || self.has(Name::Gz(n))
    }

    /// The numbers of all backups, ascending.
    pub fn backups(&self) -> impl DoubleEndedIterator<Item = u8> + '_ {
        (1..=BACKUPS).filter(|&n| self.has_backup(n))
    }

    /// Names that exist among the temporaries.
    pub fn temps(&self) -> impl Iterator<Item = u8> + '_ {
        (0..TEMPS).filter(|&k| self.has(Name::Temp(k)))
    }

    /// A temporary's name that is free, and that `avoid` does not remember: names are random.
    pub fn free_temp(&self, avoid: impl Fn(u8) -> bool) -> u8 {
        let is_free = |k: &u8| !self.has(Name::Temp(*k)) && !avoid(*k);
        (0..TEMPS).find(is_free).expect("BUG: TEMPS is too small")
    }

    /// Renumbers the files in the order of their names, then of `handles`, and forgets those
    /// without either. States that differ only in numbers become one.
    pub fn renumber<'a>(&mut self, handles: impl Iterator<Item = &'a mut Handle>) {
        let old = self.files;
        let mut map = [None; FILES];
        let mut next = 0;
        let mut number = |file: &mut Inode| {
            *file = *map[usize::from(*file)].get_or_insert_with(|| {
                next += 1;
                next - 1
            });
        };
        self.names.iter_mut().flatten().for_each(&mut number);
        handles.for_each(|handle| number(&mut handle.file));
        self.files = [File::default(); FILES];
        for (from, to) in map.iter().enumerate() {
            if let Some(to) = to {
                self.files[usize::from(*to)] = old[from];
            }
        }
    }
}
