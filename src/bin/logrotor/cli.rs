//! The command line: the verbs and their modules.

#[cfg(feature = "archive")]
use crate::archive::ArchiveCommand;
use crate::cat::{Cat, Tail};
use crate::docs::{Completions, Man};
use crate::exit::{Exit, VerbResult};
use crate::ls::{Ls, Stat};
use crate::maintenance::{Compress, Prune, Rotate};
use crate::policy::PolicyCommand;
use crate::report::without_credentials;
use crate::verify::Verify;
#[cfg(unix)]
use crate::{run::Run, write::Write};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Parser, Subcommand};
use std::io::Write as _;

/// Write, read and maintain rotating logs that many processes share.
#[derive(Parser)]
#[command(name = "logrotor", bin_name = "logrotor", version, max_term_width = 100, after_help = EXIT_STATUS)]
pub(crate) struct Cli {
    #[command(subcommand)]
    verb: LogVerb,
}

#[derive(Subcommand)]
enum LogVerb {
    // Boxed for its many options.
    #[cfg(unix)]
    Write(Box<Write>),
    #[cfg(unix)]
    Run(Box<Run>),
    Cat(Cat),
    Tail(Tail),
    Ls(Ls),
    Stat(Stat),
    Verify(Verify),
    Rotate(Rotate),
    Compress(Compress),
    Prune(Prune),
    #[cfg(feature = "archive")]
    Archive(ArchiveCommand),
    Policy(PolicyCommand),
    Man(Man),
    Completions(Completions),
}

const EXIT_STATUS: &str = "\
Exit status: 0 on success, 1 if something failed, was damaged or was not found, 2 if the command line is invalid. \
Messages go to standard error.";

impl Cli {
    /// Runs the verb of this process's command line. Help and the version are output like a verb's:
    /// the command fails if they cannot be written.
    pub(crate) fn run() -> VerbResult {
        match Self::try_parse() {
            Ok(Self { verb }) => verb.run(),
            Err(text) if !text.use_stderr() => {
                text.print()?;
                std::io::stdout().flush()?;
                Ok(Exit::Success)
            }
            Err(invalid) => with_advice(shown(invalid)).exit(),
        }
    }
}

/// Leaves the credentials of URLs out of the words that a message repeats.
fn shown(mut invalid: clap::Error) -> clap::Error {
    let shown = |text: &String| ContextValue::String(without_credentials(text));
    let repeated: Vec<_> = invalid
        .context()
        .filter_map(|(kind, value)| match value {
            ContextValue::String(text) => Some((kind, shown(text))),
            _ => None,
        })
        .collect();
    for (kind, value) in repeated {
        invalid.insert(kind, value);
    }
    invalid
}

/// Adds how to give `cat` the URL of an archive: it takes the next word for the log.
fn with_advice(mut invalid: clap::Error) -> clap::Error {
    let mut words = std::env::args_os().skip(1);
    let is_cat = words.next().is_some_and(|verb| verb == "cat");
    let is_unknown = invalid.kind() == ErrorKind::UnknownArgument;
    if is_unknown && is_cat && words.any(|word| word == "--archive") {
        let advice = "to name the archive, use '--archive=URL'".to_owned().into();
        invalid.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![advice]));
    }
    invalid
}

impl LogVerb {
    fn run(self) -> VerbResult {
        match self {
            #[cfg(unix)]
            Self::Write(write) => write.run(),
            #[cfg(unix)]
            Self::Run(run) => run.run(),
            Self::Cat(cat) => cat.run(),
            Self::Tail(tail) => tail.run(),
            Self::Ls(ls) => ls.run(),
            Self::Stat(stat) => stat.run(),
            Self::Verify(verify) => verify.run(),
            Self::Rotate(rotate) => rotate.run(),
            Self::Compress(compress) => compress.run(),
            Self::Prune(prune) => prune.run(),
            #[cfg(feature = "archive")]
            Self::Archive(archive) => archive.run(),
            Self::Policy(policy) => policy.run(),
            Self::Man(man) => man.run(),
            Self::Completions(completions) => completions.run(),
        }
    }
}
