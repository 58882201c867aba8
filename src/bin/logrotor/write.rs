//! `write`: what comes on standard input, to a rotated log.

use crate::exit::{Ending, Exit, Failure};
use crate::report::say;
use chrono::{SecondsFormat, Utc};
use clap::{ArgGroup, Args, ValueEnum};
use logrotor::{Compression, Config, Delivery, Naming, RotatingFileWriter};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use std::io::{self, Read, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The longest line that is written as one record.
const LONGEST: usize = 1 << 20;
/// What the buffer holds: what is left of a line, and one read.
const CAPACITY: usize = 2 * LONGEST;
/// How long to wait for the rest of a line, once told to end.
const REST: Duration = Duration::from_secs(1);
/// Between two attempts to write to a full disk.
const AGAIN: Duration = Duration::from_millis(100);

/// Write standard input to a rotated log
///
/// Each line is a record, and is written whole; several writers may share one log. A line longer than 1 MiB is
/// split, and a last line without a line break is given one. SIGTERM and SIGINT write what has come, wait at most a
/// second for the rest of a line, and end; SIGHUP opens the log anew; SIGUSR1 rotates it. Settings that are not given are those of the environment
/// (LOGROTOR_MAX_SIZE and so on), or else the defaults.
#[derive(Args)]
#[command(group(ArgGroup::new("settings").multiple(true).conflicts_with("policy").args([
    "max_size", "max_age", "minutely", "hourly", "daily", "weekly", "keep", "max_total", "max_backup_age", "min_free",
    "gzip", "zstd", "number", "buffered",
])))]
#[command(group(ArgGroup::new("every").args(["minutely", "hourly", "daily", "weekly"])))]
#[command(group(ArgGroup::new("codec").args(["gzip", "zstd"])))]
pub(crate) struct Write {
    /// The log
    log: PathBuf,
    /// Rotate before a segment is larger than this: 10MiB
    #[arg(long, value_name = "SIZE")]
    max_size: Option<String>,
    /// Rotate a segment of this age: 1day
    #[arg(long, value_name = "SPAN")]
    max_age: Option<String>,
    /// Rotate every minute
    #[arg(long)]
    minutely: bool,
    /// Rotate every hour
    #[arg(long)]
    hourly: bool,
    /// Rotate every day
    #[arg(long)]
    daily: bool,
    /// Rotate every week
    #[arg(long)]
    weekly: bool,
    /// Keep this many backups
    #[arg(long, value_name = "N")]
    keep: Option<String>,
    /// Keep the log within this size, the active segment included: 1GiB
    #[arg(long, value_name = "SIZE")]
    max_total: Option<String>,
    /// Keep backups for this long: 30days
    #[arg(long, value_name = "SPAN")]
    max_backup_age: Option<String>,
    /// Leave so much free on the file system: 5GiB
    #[arg(long, value_name = "SIZE")]
    min_free: Option<String>,
    /// Compress backups with gzip
    #[arg(long)]
    gzip: bool,
    /// Compress backups with Zstandard
    #[arg(long)]
    zstd: bool,
    /// Number backups, 1 the newest, instead of naming them by time
    #[arg(long)]
    number: bool,
    /// Obey this policy file, now and as it changes, instead of settings given here
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Collect lines in memory, and write them in large pieces; the last may be lost if this process is killed
    #[arg(long)]
    buffered: bool,
    /// Begin each line with the time, in UTC
    #[arg(long)]
    timestamp: bool,
    /// Copy the lines to standard output
    #[arg(long)]
    tee: bool,
    /// What to do with lines that the log does not take, as on a full disk
    #[arg(long, value_enum, default_value_t = OnFull::Block)]
    on_full: OnFull,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnFull {
    /// Read no more until it takes them
    Block,
    /// Drop them, and go on reading
    Drop,
}

impl Write {
    pub(crate) fn run(self) -> Ending {
        let log = match &self.policy {
            Some(path) => {
                let policy = Config::policy().open(path)?;
                RotatingFileWriter::builder(&self.log).policy(policy).build()?
            }
            None => RotatingFileWriter::from_config(&self.log, self.config()?)?,
        };
        let mut pump = Pump::new(log, self)?;
        let done = pump.run();
        let ended = pump.end();
        done.and(ended)
    }

    fn config(&self) -> Result<Config, Failure> {
        let mut config = Config::default().with_env()?;
        let every = [
            ("minutely", self.minutely),
            ("hourly", self.hourly),
            ("daily", self.daily),
            ("weekly", self.weekly),
        ];
        let every = every.iter().find(|(_, given)| *given).map(|(every, _)| (*every).to_owned());
        let given = [
            ("max_size", &self.max_size),
            ("max_age", &self.max_age),
            ("rotate_every", &every),
            ("max_backups", &self.keep),
            ("max_total_size", &self.max_total),
            ("max_backup_age", &self.max_backup_age),
            ("min_free_space", &self.min_free),
        ];
        for (setting, value) in given {
            if let Some(value) = value {
                config.set(setting, value)?;
            }
        }
        if self.gzip {
            config.compression = Compression::Gzip;
        }
        if self.zstd {
            config.compression = Compression::Zstd;
        }
        if self.number {
            config.naming = Naming::Number;
        }
        if self.buffered {
            config.delivery = Delivery::buffered();
        }
        Ok(config)
    }
}

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    End,
    Reopen,
    Rotate,
}

/// What is still read when a signal has asked for the end; whoever sends more need not stop first.
struct Last {
    /// Bytes that were in the pipe then.
    there: usize,
    until: Instant,
}

struct Pump {
    log: RotatingFileWriter,
    options: Write,
    input: io::Stdin,
    /// One for each of `SIGNALS`; a byte comes with each signal.
    signals: Vec<(Asked, UnixStream)>,
    buffer: Vec<u8>,
    filled: usize,
    ending: Option<Last>,
    split: u64,
    dropped: u64,
    failing: bool,
}

const SIGNALS: [(i32, Asked); 4] = [
    (SIGTERM, Asked::End),
    (SIGINT, Asked::End),
    (SIGHUP, Asked::Reopen),
    (SIGUSR1, Asked::Rotate),
];

/// What there was to wait for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ready {
    Input,
    Signal,
    Nothing,
}

impl Pump {
    fn new(log: RotatingFileWriter, options: Write) -> Result<Self, Failure> {
        let signals = SIGNALS.into_iter().map(listen).collect::<io::Result<_>>();
        let signals = signals.map_err(|error| Failure::Failed(format!("signals: {error}")))?;
        let input = io::stdin();
        // What the system refuses is for speed only.
        #[cfg(target_os = "linux")]
        let _ = rustix::pipe::fcntl_setpipe_size(&input, LONGEST);
        let buffer = vec![0; CAPACITY];
        let (filled, ending, split, dropped, failing) = Default::default();
        Ok(Self { log, options, input, signals, buffer, filled, ending, split, dropped, failing })
    }

    /// Until the input ends, or a signal has asked for it.
    fn run(&mut self) -> Result<(), Failure> {
        loop {
            let patience = match &self.ending {
                None => None,
                Some(last) if last.there > 0 => Some(Duration::ZERO),
                Some(last) => {
                    let left = last.until.saturating_duration_since(Instant::now());
                    if self.filled == 0 || left.is_zero() {
                        return Ok(());
                    }
                    Some(left)
                }
            };
            match self.wait(patience, true)? {
                Ready::Signal => self.obey(),
                Ready::Input if self.read()? => self.write_lines(),
                Ready::Input | Ready::Nothing => return Ok(()),
            }
        }
    }

    /// Waits for input or a signal; signals go first.
    fn wait(&self, patience: Option<Duration>, with_input: bool) -> Result<Ready, Failure> {
        let mut ready: Vec<_> =
            self.signals.iter().map(|(_, signal)| PollFd::new(signal, PollFlags::IN)).collect();
        if with_input {
            ready.push(PollFd::new(&self.input, PollFlags::IN));
        }
        let patience = patience.map(|patience| Timespec {
            tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        });
        match poll(&mut ready, patience.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Ready::Signal),
            Err(error) => return Err(Failure::Failed(format!("standard input: {error}"))),
        }
        let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        Ok(match ready.iter().position(is_ready) {
            Some(at) if at < self.signals.len() => Ready::Signal,
            Some(_) => Ready::Input,
            None => Ready::Nothing,
        })
    }

    /// Does what the signals that have come ask for.
    fn obey(&mut self) {
        for asked in self.asked() {
            let done = match asked {
                Asked::End => {
                    let there = rustix::io::ioctl_fionread(&self.input).unwrap_or(0);
                    let there = usize::try_from(there).unwrap_or(usize::MAX);
                    self.ending = Some(Last { there, until: Instant::now() + REST });
                    Ok(())
                }
                Asked::Reopen => self.log.reopen(),
                Asked::Rotate => self.log.rotate().map(drop),
            };
            if let Err(error) = done {
                say(error);
            }
        }
    }

    fn asked(&self) -> Vec<Asked> {
        let has_come = |signal: &UnixStream| {
            let mut signal = signal;
            // Several of one kind that come together are one.
            matches!(signal.read(&mut [0; 64]), Ok(read) if read > 0)
        };
        let come = self.signals.iter().filter(|(_, signal)| has_come(signal));
        come.map(|(asked, _)| *asked).collect()
    }

    /// Reads once; `false` at the end of the input.
    fn read(&mut self) -> Result<bool, Failure> {
        match rustix::io::read(&self.input, &mut self.buffer[self.filled..self.filled + LONGEST]) {
            Ok(0) => Ok(false),
            Ok(read) => {
                self.filled += read;
                if let Some(last) = &mut self.ending {
                    last.there = last.there.saturating_sub(read);
                }
                Ok(true)
            }
            Err(Errno::INTR | Errno::AGAIN) => Ok(true),
            Err(error) => Err(Failure::Failed(format!("standard input: {error}"))),
        }
    }

    /// Writes all lines that are whole. At most one read goes into the buffer after what was left there, which is
    /// no longer than a longest line; so only the first line can be too long, and no more than twice.
    fn write_lines(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut rest = &buffer[..self.filled];
        if first_line(rest).len() > LONGEST {
            let (part, after) = rest.split_at(LONGEST);
            self.write_part(part);
            self.split += 1;
            rest = after;
        }
        let whole = rest.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        let (lines, rest) = rest.split_at(whole);
        self.write(lines);
        let left = rest.len();
        buffer.copy_within(self.filled - left..self.filled, 0);
        (self.buffer, self.filled) = (buffer, left);
    }

    /// Writes what has no line break with one, so that nobody's next line is glued to it.
    fn write_part(&mut self, part: &[u8]) {
        self.write(&[part, b"\n"].concat());
    }

    fn write(&mut self, lines: &[u8]) {
        let stamped = self.options.timestamp.then(|| stamped(lines));
        let lines = stamped.as_deref().unwrap_or(lines);
        if self.options.tee {
            if let Err(error) = io::stdout().write_all(lines) {
                say(format!("standard output: {error}; copying no more"));
                self.options.tee = false;
            }
        }
        self.append(lines);
    }

    fn append(&mut self, mut lines: &[u8]) {
        while !lines.is_empty() {
            let before = self.log.stats().records;
            match self.log.write_lines(lines) {
                Ok(taken) => {
                    self.failing = false;
                    lines = &lines[taken..];
                }
                Err(error) => {
                    self.tell(&error);
                    // A sync may have failed after they were written.
                    let written = self.log.stats().records - before;
                    lines = self.after_failure(lines, written);
                }
            }
        }
    }

    fn tell(&mut self, error: &io::Error) {
        if !self.failing {
            let what = if self.may_wait() { "waiting" } else { "dropping lines" };
            say(format!("{error}; {what} until it can be written"));
        }
        self.failing = true;
    }

    fn may_wait(&self) -> bool {
        self.options.on_full == OnFull::Block && self.ending.is_none()
    }

    /// What is to be tried next.
    fn after_failure<'a>(&mut self, mut lines: &'a [u8], written: u64) -> &'a [u8] {
        for _ in 0..written {
            lines = &lines[first_line(lines).len()..];
        }
        if written > 0 {
            return lines;
        }
        if !self.may_wait() {
            self.dropped += 1;
            return &lines[first_line(lines).len()..];
        }
        if self.wait(Some(AGAIN), false).is_ok_and(|ready| ready == Ready::Signal) {
            self.obey();
        }
        lines
    }

    /// Writes what is left, and says what was not as it should be.
    fn end(mut self) -> Ending {
        if self.filled > 0 {
            let rest = self.buffer[..self.filled].to_vec();
            self.write_part(&rest);
        }
        let closed = self.log.close();
        if self.split > 0 {
            say(format!("{} lines were longer than {LONGEST} bytes, and were split", self.split));
        }
        if self.dropped > 0 {
            say(format!("{} lines were dropped", self.dropped));
        }
        closed?;
        Ok(if self.dropped > 0 { Exit::Found } else { Exit::Success })
    }
}

fn listen((signal, asked): (i32, Asked)) -> io::Result<(Asked, UnixStream)> {
    let (told, tells) = UnixStream::pair()?;
    told.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(signal, tells)?;
    Ok((asked, told))
}

/// The first line, its line break included.
fn first_line(lines: &[u8]) -> &[u8] {
    lines.split_inclusive(|&byte| byte == b'\n').next().unwrap_or_default()
}

/// The lines, each after the time.
fn stamped(lines: &[u8]) -> Vec<u8> {
    let now = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
    let stamp = |line| [now.as_bytes(), b" ", line].concat();
    lines.split_inclusive(|&byte| byte == b'\n').flat_map(stamp).collect()
}
