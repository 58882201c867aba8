//! The command line: the verbs and their modules.

use crate::cat::{Cat, Tail};
use crate::docs::{Completions, Man};
use crate::exit::VerbResult;
use crate::ls::{Ls, Stat};
use crate::maintenance::{Compress, Prune, Rotate};
use crate::policy::PolicyCommand;
use crate::verify::Verify;
#[cfg(unix)]
use crate::{run::Run, write::Write};
use clap::{Parser, Subcommand};

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
    Policy(PolicyCommand),
    Man(Man),
    Completions(Completions),
}

const EXIT_STATUS: &str = "\
Exit status: 0 on success, 1 if something failed, was damaged or was not found, 2 if the command line is invalid. \
Messages go to standard error.";

impl Cli {
    pub(crate) fn run(self) -> VerbResult {
        match self.verb {
            #[cfg(unix)]
            LogVerb::Write(write) => write.run(),
            #[cfg(unix)]
            LogVerb::Run(run) => run.run(),
            LogVerb::Cat(cat) => cat.run(),
            LogVerb::Tail(tail) => tail.run(),
            LogVerb::Ls(ls) => ls.run(),
            LogVerb::Stat(stat) => stat.run(),
            LogVerb::Verify(verify) => verify.run(),
            LogVerb::Rotate(rotate) => rotate.run(),
            LogVerb::Compress(compress) => compress.run(),
            LogVerb::Prune(prune) => prune.run(),
            LogVerb::Policy(policy) => policy.run(),
            LogVerb::Man(man) => man.run(),
            LogVerb::Completions(completions) => completions.run(),
        }
    }
}
