//! The command line: the verbs, and which module does each.

use crate::cat::{Cat, Tail};
use crate::docs::{Completions, Man};
use crate::exit::Ending;
use crate::ls::{Ls, Stat};
use crate::policy::PolicyVerbs;
use crate::upkeep::{Compress, Prune, Rotate};
use crate::verify::Verify;
#[cfg(unix)]
use crate::{run::Run, write::Write};
use clap::{Parser, Subcommand};

/// Rotating logs that many processes share, and that lose no line.
#[derive(Parser)]
#[command(name = "logrotor", bin_name = "logrotor", version, max_term_width = 100, after_help = EXIT_STATUS)]
pub(crate) struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    // Boxed as it has so many options.
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
    Policy(PolicyVerbs),
    Man(Man),
    Completions(Completions),
}

const EXIT_STATUS: &str = "\
Exit status: 0 if all went well; 1 if something failed, was found damaged, or was not found; 2 if the command \
line was not understood. Messages go to standard error.";

impl Cli {
    pub(crate) fn run(self) -> Ending {
        match self.verb {
            #[cfg(unix)]
            Verb::Write(write) => write.run(),
            #[cfg(unix)]
            Verb::Run(run) => run.run(),
            Verb::Cat(cat) => cat.run(),
            Verb::Tail(tail) => tail.run(),
            Verb::Ls(ls) => ls.run(),
            Verb::Stat(stat) => stat.run(),
            Verb::Verify(verify) => verify.run(),
            Verb::Rotate(rotate) => rotate.run(),
            Verb::Compress(compress) => compress.run(),
            Verb::Prune(prune) => prune.run(),
            Verb::Policy(policy) => policy.run(),
            Verb::Man(man) => man.run(),
            Verb::Completions(completions) => completions.run(),
        }
    }
}
