//! The options as given, and the job that follows from them.

use crate::Result;
use clap::Parser;
use logrotor::{Compression, LogBuilder, RotatingFileWriter, units};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Several processes log every file of a directory tree through one rotating log; then every record
/// is accounted for. Exits with 1 if one is lost, doubled or torn.
#[derive(Parser)]
#[command(name = "workers")]
pub(crate) struct Options {
    /// The tree whose files are logged [default: the Rust toolchain's sysroot]
    directory: Option<PathBuf>,
    /// How many processes share the log
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,
    /// Maximum size of a segment, e.g. 64KiB
    #[arg(long, default_value = "64KiB", value_parser = units::parse_size)]
    size: u64,
    /// Maximum number of backups [default: unlimited]
    #[arg(long)]
    backups: Option<usize>,
    /// Compression of backups: none, gzip or zstd
    #[arg(long, default_value_t = Compression::Gzip)]
    compression: Compression,
    /// Where the log goes, and stays [default: a temporary directory]
    #[arg(long)]
    log: Option<PathBuf>,
    /// Set by this program for its own worker processes
    #[arg(long, hide = true)]
    pub(crate) worker: Option<usize>,
}

/// The options with nothing left open: the same for all workers.
pub(crate) struct Job {
    pub(crate) tree: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) workers: usize,
    pub(crate) backups: Option<usize>,
    size: u64,
    compression: Compression,
}

impl Job {
    /// Completes the options, and checks that the tree exists and the log does not.
    pub(crate) fn new(options: &Options) -> Result<(Self, Option<TempDir>)> {
        let tree = options.directory.clone().map_or_else(sysroot, Ok)?;
        if !tree.is_dir() {
            return Err(format!("there is no directory `{}`", tree.display()).into());
        }
        let temporary = if options.log.is_none() { Some(tempfile::tempdir()?) } else { None };
        let log = match (&options.log, &temporary) {
            (Some(log), _) => std::path::absolute(log)?,
            (None, dir) => dir.as_ref().map_or(Path::new(""), TempDir::path).join("files.log"),
        };
        refuse_old_log(&log)?;
        Ok((Self::with(options, tree, log), temporary))
    }

    /// The job of a worker, whose parent has left nothing open.
    pub(crate) fn of_worker(options: &Options) -> Result<Self> {
        match (&options.directory, &options.log) {
            (Some(tree), Some(log)) => Ok(Self::with(options, tree.clone(), log.clone())),
            _ => Err("`--worker` is for this program's own use".into()),
        }
    }

    fn with(options: &Options, tree: PathBuf, log: PathBuf) -> Self {
        let &Options { size, backups, compression, .. } = options;
        Self { tree, log, workers: usize::from(options.workers), backups, size, compression }
    }

    /// The command line that has a worker process do its share of this job.
    pub(crate) fn args(&self, worker: usize) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec![
            format!("--worker={worker}").into(),
            format!("--workers={}", self.workers).into(),
            format!("--size={}", self.size).into(),
            format!("--compression={}", self.compression).into(),
        ];
        args.extend(self.backups.map(|count| format!("--backups={count}").into()));
        args.extend(["--log".into(), self.log.clone().into()]);
        args.extend(["--".into(), self.tree.clone().into()]);
        args
    }

    /// The log as every worker of this job sets it up.
    pub(crate) fn writer(&self) -> LogBuilder {
        let builder = RotatingFileWriter::builder(&self.log);
        let builder = builder.max_size(self.size).compression(self.compression);
        match self.backups {
            Some(count) => builder.max_backups(count),
            None => builder,
        }
    }
}

/// The directory of the Rust toolchain: a real tree that every reader of this has.
fn sysroot() -> Result<PathBuf> {
    let hint = "give a directory to walk";
    let output = Command::new("rustc").args(["--print", "sysroot"]).output();
    let output = output.map_err(|error| format!("`rustc` does not run: {error}; {hint}"))?;
    if !output.status.success() {
        return Err(format!("`rustc --print sysroot` failed; {hint}").into());
    }
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim_end()))
}

/// Records of an earlier run would be indistinguishable from ours.
fn refuse_old_log(log: &Path) -> Result<()> {
    let (Some(dir), Some(name)) = (log.parent(), log.file_name().and_then(|name| name.to_str()))
    else {
        return Err(format!("`{}` is no name for a log", log.display()).into());
    };
    let Ok(entries) = std::fs::read_dir(dir) else { return Ok(()) };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(name) {
            let there = entry.path();
            return Err(format!("`{}` is there already; remove it first", there.display()).into());
        }
    }
    Ok(())
}
