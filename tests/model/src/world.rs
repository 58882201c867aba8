//! The world, and the effect of each call. The table in [`protocol`](crate::protocol) is the index.

use crate::disk::{BACKUPS, Disk, File, Flock, Handle, Name, Records};
use crate::protocol::*;

/// The whole world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The directory.
    pub disk: Disk,
    /// All workers; those a model does not use stay idle.
    pub workers: [Worker; WORKERS],
    /// Records whose write has returned.
    pub acknowledged: Records,
    /// Records in the files that pruning has removed.
    pub pruned: Records,
    /// Crashes still to come.
    pub crashes: u8,
    /// Faults still to come.
    pub faults: u8,
}

impl State {
    /// An empty directory.
    pub fn first(model: &Model) -> Self {
        State {
            disk: Disk::default(),
            workers: [Worker::FRESH; WORKERS],
            acknowledged: 0,
            pruned: 0,
            crashes: model.crashes,
            faults: model.faults,
        }
    }

    /// The jobs that worker `w` may start when idle.
    pub fn jobs(&self, model: &Model, w: usize, mut offer: impl FnMut(Job)) {
        if self.records_of(w) < model.writes[w] as u32 {
            offer(Job::Write);
        }
        if self.workers[w].segment.is_some_and(|segment| !self.is_at(Name::Log, segment)) {
            offer(Job::Glance);
        }
        if w >= model.maintainers {
            self.maintenance(model, offer);
        }
    }

    /// The maintenance that is due.
    pub fn maintenance(&self, model: &Model, mut offer: impl FnMut(Job)) {
        (1..=BACKUPS)
            .filter(|&n| self.disk.has(Name::Plain(n)))
            .for_each(|n| offer(Job::Compress(n)));
        if let Some(n) = self.one_too_many(model) {
            offer(Job::Prune(n));
        }
        self.disk.temps().for_each(|k| offer(Job::Clean(k)));
    }

    /// Sets an idle worker to its first step.
    pub fn begin(&mut self, model: &Model, w: usize, job: Job) {
        let me = &mut self.workers[w];
        let is_plain = |n| self.disk.has(Name::Plain(n));
        match job {
            Job::Write => {
                me.writing = true;
                me.proceeds();
            }
            Job::Glance => (me.task, me.step) = (Task::Open, Step::OpenLog),
            Job::Prune(_) if model.naming == Naming::Number && model.has(Guard::PruneLocked) => {
                me.locks(Task::Prune);
            }
            Job::Prune(n) if !is_plain(n) => {
                (me.task, me.step, me.target) = (Task::Prune, Step::Remove, Some(Name::Gz(n)));
            }
            Job::Prune(n) => me.maintains(Task::Prune, Name::Plain(n)),
            Job::Compress(n) => me.maintains(Task::Compress, Name::Plain(n)),
            Job::Clean(k) if self.disk.plain_of(Name::Temp(k)).is_some() => {
                me.target = Some(Name::Temp(k));
                me.locks(Task::Clean);
            }
            Job::Clean(k) => me.maintains(Task::Clean, Name::Temp(k)),
        }
    }

    /// Makes worker `w`'s next system call, and returns its outcome.
    pub fn step(&mut self, model: &Model, w: usize) -> &'static str {
        let mut me = self.workers[w];
        let outcome = match me.step {
            Step::Append => self.append(model, w, &mut me),
            step => self.call(model, step, &mut me),
        };
        self.workers[w] = me;
        self.renumber();
        outcome
    }

    /// The same, but the call fails.
    pub fn fail(&mut self, w: usize) -> &'static str {
        let me = &mut self.workers[w];
        me.step = match (me.step, me.task) {
            (Step::CreateTemp, Task::Rotate) => {
                me.task = Task::GiveUp;
                Step::RemoveLock
            }
            (Step::CreateTemp, _) => Step::Close,
            (Step::LinkToBackup, _) => Step::RenameToBackup,
            (Step::Exchange, _) => {
                me.task = Task::GiveUp;
                Step::UndoLink
            }
            (Step::RemoveOld, _) => {
                me.adopts();
                Step::RemoveLock
            }
            (Step::RenameToLog, _) => Step::RenameBack,
            (Step::RenameBack | Step::RenameToBackup | Step::RenameToGz, _) => Step::RemoveTemp,
            _ => unreachable!("BUG: not a call that fails"),
        };
        self.faults -= 1;
        "FAILED"
    }

    /// Whether the model lets worker `w`'s next call fail.
    pub fn may_fail(&self, w: usize) -> bool {
        use Step::*;
        let step = self.workers[w].step;
        let can_fail = matches!(
            step,
            CreateTemp
                | LinkToBackup
                | Exchange
                | RemoveOld
                | RenameToBackup
                | RenameToLog
                | RenameBack
                | RenameToGz
        );
        self.faults > 0 && can_fail
    }

    /// Kills worker `w`; a fresh one takes its place.
    pub fn crash(&mut self, w: usize) {
        self.crashes = self.crashes.saturating_sub(1);
        self.workers[w] = Worker::FRESH;
        self.renumber();
    }

    /// Whether killing worker `w` changes anything.
    pub fn may_crash(&self, w: usize) -> bool {
        self.crashes > 0 && self.workers[w] != Worker::FRESH
    }

    /// Creates another program's file at the log's path.
    pub fn intrude(&mut self) {
        self.faults -= 1;
        self.create(Name::Log);
        self.renumber();
    }

    /// Whether another program may do so: where the log was, and is not.
    pub fn may_intrude(&self) -> bool {
        self.faults > 0 && !self.disk.has(Name::Log) && self.disk.backups().next().is_some()
    }

    fn call(&mut self, model: &Model, step: Step, me: &mut Worker) -> &'static str {
        use Step::*;
        match step {
            Idle | Append => unreachable!("BUG: no call to make"),
            OpenLog | LeaseLog | CheckLog | CreateLog => self.opens(model, step, me),
            OpenLock | TryLock | CheckLock | RemoveLock | CloseLock => self.locks(model, step, me),
            CreateTemp | LeaseTemp | CheckTemp | RemoveTemp => self.prepares(model, step, me),
            SecondLook | ChooseName | Shift | RenameToBackup | RenameToLog | RenameBack => {
                self.rotates(model, step, me)
            }
            UndoLink | LinkToBackup | Exchange | RemoveOld => self.exchanges(step, me),
            OpenTarget | TryTarget | CheckTarget => self.holds(model, step, me),
            LookForGz | WriteGz | FindName | RenameToGz | PickOldest | Remove | Close => {
                self.maintains(model, step, me)
            }
        }
    }

    /// The log: open, lease, check again, or create it.
    fn opens(&mut self, model: &Model, step: Step, me: &mut Worker) -> &'static str {
        use Step::*;
        match step {
            OpenLog => {
                me.new = self.disk.open(Name::Log);
                if me.new.is_some() {
                    return me.goes(LeaseLog, "");
                }
                me.locks(Task::Open);
                "no such file"
            }
            LeaseLog => {
                if model.has(Guard::Lease) && !self.flock(&mut me.new, Flock::Shared) {
                    return me.goes(OpenLog, "refused: closes it, starts again");
                }
                me.goes(CheckLog, "")
            }
            CheckLog => {
                let new = me.new.take().expect("BUG: no log");
                if model.has(Guard::OpenIdentity) && !self.is_at(Name::Log, new) {
                    return me.goes(OpenLog, "moved: closes it, starts again");
                }
                me.segment = Some(new);
                me.full = self.is_full(model, new);
                me.proceeds();
                "adopts it"
            }
            CreateLog => {
                me.task = Task::Open;
                if !self.disk.has(Name::Log) {
                    self.create(Name::Log);
                }
                me.goes(RemoveLock, "")
            }
            _ => unreachable!("BUG: not of this group"),
        }
    }

    /// The rotation lock.
    fn locks(&mut self, model: &Model, step: Step, me: &mut Worker) -> &'static str {
        use Step::*;
        match step {
            OpenLock => {
                let lock = self.disk.open(Name::Lock);
                me.lock = Some(lock.unwrap_or_else(|| self.create(Name::Lock)));
                me.goes(TryLock, "")
            }
            TryLock if self.flock(&mut me.lock, Flock::Exclusive) => me.goes(CheckLock, ""),
            TryLock => {
                me.lock = None;
                match me.task {
                    Task::Compress => me.step = RemoveTemp,
                    _ => me.makes_do(),
                }
                "refused: gives up waiting"
            }
            CheckLock => {
                let lock = me.lock.expect("BUG: no lock file");
                if model.has(Guard::LockIdentity) && !self.is_at(Name::Lock, lock) {
                    me.lock = None;
                    return me.goes(OpenLock, "moved: closes it, starts again");
                }
                let inside = match me.task {
                    Task::Open => CreateLog,
                    Task::Rotate => SecondLook,
                    Task::Compress => FindName,
                    Task::Prune => PickOldest,
                    Task::Clean => match me.target.and_then(|temp| self.disk.plain_of(temp)) {
                        Some(_) => Remove,
                        None => RemoveLock,
                    },
                    _ => unreachable!("BUG: no need of the lock"),
                };
                me.goes(inside, "has the rotation lock")
            }
            RemoveLock => {
                self.disk.unlink(Name::Lock);
                me.goes(CloseLock, "")
            }
            CloseLock => {
                me.lock = None;
                match me.task {
                    Task::Open => me.step = OpenLog,
                    Task::Adopt => {
                        (me.segment, me.full) = (me.new.take(), false);
                        if !model.has(Guard::Lease) {
                            me.segment.as_mut().expect("BUG: no segment").flock = Flock::Unlocked;
                        }
                        me.proceeds();
                    }
                    Task::GiveUp => me.makes_do(),
                    _ => me.step = Close,
                }
                "is released"
            }
            _ => unreachable!("BUG: not of this group"),
        }
    }

    /// A temporary, for a new segment or a `.gz`.
    fn prepares(&mut self, model: &Model, step: Step, me: &mut Worker) -> &'static str {
        use Step::*;
        match step {
            CreateTemp => {
                let k = self.disk.free_temp(|k| self.remembers(k));
                me.temp = Some(k);
                me.new = Some(self.create(Name::Temp(k)));
                me.goes(LeaseTemp, "")
            }
            LeaseTemp if self.flock(&mut me.new, Flock::Shared) => me.goes(CheckTemp, ""),
            LeaseTemp => me.goes(RemoveTemp, "refused"),
            CheckTemp => {
                let new = me.new.expect("BUG: no temporary");
                if model.has(Guard::TempIdentity) && !self.is_at(me.own_temp(), new) {
                    me.new = None;
                    return me.goes(CreateTemp, "gone: tries another");
                }
                match (me.task, model.naming) {
                    (Task::Compress, _) => me.goes(WriteGz, ""),
                    (_, Naming::Timestamp) => me.goes(ChooseName, ""),
                    (_, Naming::Number) => me.goes(Shift, ""),
                }
            }
            RemoveTemp => {
                self.disk.unlink(me.own_temp());
                (me.new, me.temp) = (None, None);
                match me.task {
                    Task::Compress if me.lock.is_some() => me.goes(RemoveLock, ""),
                    Task::Compress => me.goes(Close, ""),
                    _ => {
                        me.task = Task::GiveUp;
                        me.goes(RemoveLock, "")
                    }
                }
            }
            _ => unreachable!("BUG: not of this group"),
        }
    }

    /// Under the rotation lock: the active segment becomes a backup.
    fn rotates(&mut self, model: &Model, step: Step, me: &mut Worker) -> &'static str {
        use Step::*;
        match step {
            SecondLook => {
                let segment = me.segment.expect("BUG: no segment");
                if !model.has(Guard::SecondLook) || self.is_at(Name::Log, segment) {
                    if self.disk.plain_of(Name::Log).is_some() && model.has(Guard::UndoLink) {
                        return me.goes(UndoLink, "still ours, and a backup");
                    }
                    return me.goes(CreateTemp, "still ours");
                }
                me.task = Task::Open;
                match self.disk.has(Name::Log) {
                    true => me.goes(RemoveLock, "another worker has rotated"),
                    false => me.goes(CreateLog, "gone"),
                }
            }
            ChooseName => {
                let newest = self.disk.backups().next_back().unwrap_or(0);
                me.target = Some(Name::Plain(newest + 1));
                me.goes(if model.exchanges { LinkToBackup } else { RenameToBackup }, "")
            }
            Shift => self.shift(model, me),
            RenameToBackup => match self.disk.rename_noreplace(Name::Log, Name::Plain(me.backup()))
            {
                true => me.goes(RenameToLog, ""),
                false => me.goes(RemoveTemp, "refused"),
            },
            RenameToLog if self.disk.rename_noreplace(me.own_temp(), Name::Log) => {
                me.adopts();
                me.goes(RemoveLock, "")
            }
            RenameToLog if model.has(Guard::RenameBack) => me.goes(RenameBack, "refused"),
            RenameToLog => me.goes(RemoveTemp, "refused"),
            RenameBack if model.has(Guard::RenameBack) => {
                let is_back = self.disk.rename_noreplace(Name::Plain(me.backup()), Name::Log);
                me.goes(RemoveTemp, if is_back { "" } else { "refused" })
            }
            RenameBack => me.goes(RemoveTemp, "is not done: taken out"),
            _ => unreachable!("BUG: not of this group"),
        }
    }

    /// The same without a gap.
    fn exchanges(&mut self, step: Step, me: &mut Worker) -> &'static str {
        use Step::*;
        match step {
            UndoLink => {
                if let Some(n) = self.disk.plain_of(Name::Log) {
                    self.disk.unlink(Name::Plain(n));
                }
                me.goes(if me.task == Task::GiveUp { RemoveTemp } else { CreateTemp }, "")
            }
            LinkToBackup => match self.disk.link(Name::Log, Name::Plain(me.backup())) {
                true => me.goes(Exchange, ""),
                false => me.goes(RemoveTemp, "refused"),
            },
            Exchange => match self.disk.exchange(me.own_temp(), Name::Log) {
                true => me.goes(RemoveOld, ""),
                false => {
                    me.task = Task::GiveUp;
                    me.goes(UndoLink, "refused")
                }
            },
            RemoveOld => {
                self.disk.unlink(me.own_temp());
                me.adopts();
                me.goes(RemoveLock, "")
            }
            _ => unreachable!("BUG: not of this group"),
        }
    }

    /// A file to maintain, for this worker alone.
    fn holds(&mut self, model: &Model, step: Step, me: &mut Worker) -> &'static str {
        use Step::*;
        match step {
            OpenTarget => {
                me.held = me.target.and_then(|target| self.disk.open(target));
                match me.held {
                    Some(_) => me.goes(TryTarget, ""),
                    None => me.goes(Close, "no such file"),
                }
            }
            TryTarget if !self.flock(&mut me.held, Flock::Exclusive) => {
                me.goes(if me.lock.is_some() { RemoveLock } else { Close }, "refused: leaves it")
            }
            TryTarget if me.lock.is_some() => me.goes(Remove, ""),
            TryTarget => me.goes(CheckTarget, ""),
            CheckTarget => {
                let (held, target) =
                    (me.held.expect("BUG: no backup"), me.target.expect("BUG: no name"));
                if model.has(Guard::BackupIdentity) && !self.is_at(target, held) {
                    return me.goes(Close, "moved: leaves it");
                }
                let is_backup = me.task != Task::Clean;
                if is_backup && self.is_at(Name::Log, held) && model.has(Guard::ActiveStays) {
                    return me.goes(Close, "is the active segment too: leaves it");
                }
                me.goes(if is_backup { LookForGz } else { Remove }, "")
            }
            _ => unreachable!("BUG: not of this group"),
        }
    }

    /// Compression and removal.
    fn maintains(&mut self, model: &Model, step: Step, me: &mut Worker) -> &'static str {
        use Step::*;
        match step {
            LookForGz => {
                let has_gz = self.disk.has(Name::Gz(me.backup()));
                // Numbers may change until the rotation lock is taken: then `Shift` and
                // `PickOldest` handle pairs, and `RenameToGz` creates the same `.gz` again.
                let is_settled =
                    model.naming == Naming::Timestamp || !model.has(Guard::DiscardLocked);
                if has_gz && is_settled {
                    me.task = Task::Discard;
                }
                me.goes(if me.task == Task::Compress { CreateTemp } else { Remove }, "")
            }
            WriteGz => {
                let (from, to) =
                    (me.held.expect("BUG: no backup"), me.new.expect("BUG: no temporary"));
                *self.disk.file_mut(to.file) = File { whole: true, ..*self.disk.file(from.file) };
                match model.naming == Naming::Number && model.has(Guard::CompressLocked) {
                    true => me.locks(Task::Compress),
                    false => me.step = RenameToGz,
                }
                ""
            }
            FindName => {
                let held = me.held.expect("BUG: no backup");
                match (1..=BACKUPS).find(|&n| self.is_at(Name::Plain(n), held)) {
                    Some(n) => {
                        me.target = Some(Name::Plain(n));
                        me.goes(RenameToGz, "")
                    }
                    None => me.goes(RemoveTemp, "gone"),
                }
            }
            RenameToGz => match self.disk.rename(me.own_temp(), Name::Gz(me.backup())) {
                true => {
                    me.temp = None;
                    me.goes(Remove, "")
                }
                false => me.goes(RemoveTemp, "refused"),
            },
            PickOldest => self.pick_oldest(model, me),
            Remove => {
                let target = me.target.expect("BUG: no name");
                if let (Task::Prune, Some(file)) = (me.task, self.disk.at(target)) {
                    self.pruned |= file.records;
                }
                self.disk.unlink(target);
                me.goes(if me.lock.is_some() { RemoveLock } else { Close }, "")
            }
            Close => {
                me.ends();
                ""
            }
            _ => unreachable!("BUG: not of this group"),
        }
    }

    fn append(&mut self, model: &Model, w: usize, me: &mut Worker) -> &'static str {
        let segment = me.segment.expect("BUG: no segment");
        let record = 1 << self.next_record(model, w);
        self.disk.file_mut(segment.file).records |= record;
        self.acknowledged |= record;
        me.full = self.is_full(model, segment);
        me.ends();
        ""
    }

    /// Numbers: one rename towards an empty place 1, so that a crash between two leaves only a gap.
    fn shift(&mut self, model: &Model, me: &mut Worker) -> &'static str {
        let Some(gap) = (1..=BACKUPS).find(|&n| !self.disk.has_backup(n)) else {
            return me.goes(Step::RemoveTemp, "no place left");
        };
        let last = gap - 1;
        if last == 0 {
            me.target = Some(Name::Plain(1));
            let next = if model.exchanges { Step::LinkToBackup } else { Step::RenameToBackup };
            return me.goes(next, "1 is free");
        }
        if !self.disk.has(Name::Gz(last)) {
            self.disk.rename_noreplace(Name::Plain(last), Name::Plain(gap));
            "moves a plain one up"
        } else if self.disk.has(Name::Plain(last)) && model.has(Guard::PairsFirst) {
            self.disk.unlink(Name::Plain(last));
            "removes a plain one beside its .gz"
        } else {
            self.disk.rename_noreplace(Name::Gz(last), Name::Gz(gap));
            "moves a .gz up"
        }
    }

    fn pick_oldest(&mut self, model: &Model, me: &mut Worker) -> &'static str {
        let Some(n) = self.one_too_many(model) else {
            return me.goes(Step::RemoveLock, "nothing to prune");
        };
        let step = match (self.disk.has(Name::Plain(n)), self.disk.has(Name::Gz(n))) {
            (true, false) => Step::OpenTarget,
            (is_pair, _) => {
                me.task = if is_pair { Task::Discard } else { Task::Prune };
                Step::Remove
            }
        };
        let is_plain = self.disk.has(Name::Plain(n));
        me.target = Some(if is_plain { Name::Plain(n) } else { Name::Gz(n) });
        me.goes(step, "")
    }

    /// The oldest backup, if there are more than pruning keeps.
    pub fn one_too_many(&self, model: &Model) -> Option<u8> {
        let active = self.disk.plain_of(Name::Log).filter(|_| model.has(Guard::ActiveStays));
        let mut backups = self.disk.backups().filter(|&n| Some(n) != active);
        let count = self.disk.backups().filter(|&n| Some(n) != active).count();
        match (count > model.keep, model.naming) {
            (false, _) => None,
            (true, Naming::Timestamp) => backups.next(),
            (true, Naming::Number) => backups.next_back(),
        }
    }

    /// `flock` without waiting: granted unless another handle's lock conflicts.
    fn flock(&self, handle: &mut Option<Handle>, want: Flock) -> bool {
        let handle = handle.as_mut().expect("BUG: no handle");
        let is_in_the_way = |other: &Handle| {
            let kinds = (other.flock, want);
            other.file == handle.file
                && matches!(kinds, (Flock::Exclusive, _) | (Flock::Shared, Flock::Exclusive))
        };
        if self.workers.iter().flat_map(Worker::handles).any(is_in_the_way) {
            return false;
        }
        handle.flock = want;
        true
    }

    fn create(&mut self, name: Name) -> Handle {
        let in_use = self.workers.iter().flat_map(Worker::handles).map(|handle| handle.file);
        self.disk.create(name, in_use)
    }

    fn renumber(&mut self) {
        self.disk.renumber(self.workers.iter_mut().flat_map(Worker::handles_mut));
    }

    fn is_at(&self, name: Name, handle: Handle) -> bool {
        self.disk.stat(name) == Some(handle.file)
    }

    fn is_full(&self, model: &Model, handle: Handle) -> bool {
        self.disk.file(handle.file).records.count_ones() >= model.full_at
    }

    fn remembers(&self, k: u8) -> bool {
        let is_it = |me: &Worker| me.temp == Some(k) || me.target == Some(Name::Temp(k));
        self.workers.iter().any(is_it)
    }

    fn records_of(&self, w: usize) -> u32 {
        (self.acknowledged & of_worker(w)).count_ones()
    }

    /// The next record of worker `w`, or a spare one.
    fn next_record(&self, model: &Model, w: usize) -> usize {
        let own = self.records_of(w) as usize;
        if own < model.writes[w] {
            return w * PER_WORKER + own;
        }
        SPARE.clone().find(|r| self.acknowledged & (1 << r) == 0).expect("BUG: SPARE is too small")
    }
}
