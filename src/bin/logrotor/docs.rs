//! What a package of the command brings along: manual pages and shell completions.

use crate::cli::Cli;
use crate::exit::{Ending, Exit, Failure};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::io::Write;

/// Print a manual page, as `man -l -` reads it
#[derive(Args)]
pub(crate) struct Man {
    /// The command it is about [default: logrotor as a whole]
    #[arg(value_name = "COMMAND")]
    verb: Option<String>,
}

/// Print what makes a shell complete commands and options
#[derive(Args)]
pub(crate) struct Completions {
    /// Which shell
    shell: Shell,
}

impl Man {
    pub(crate) fn run(self) -> Ending {
        let whole = Cli::command();
        let command = match &self.verb {
            None => whole,
            Some(verb) => verb_of(&whole, verb)?,
        };
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        print(&page)
    }
}

/// The part of the command that does one verb, under the name that its page has.
fn verb_of(whole: &clap::Command, verb: &str) -> Result<clap::Command, Failure> {
    let Some(found) = whole.find_subcommand(verb) else {
        let verbs: Vec<_> = whole.get_subcommands().map(clap::Command::get_name).collect();
        return Err(Failure::usage(format!(
            "there is no command `{verb}`; use one of {}",
            verbs.join(", ")
        )));
    };
    let (name, shown) = (format!("logrotor-{verb}"), format!("logrotor {verb}"));
    Ok(found.clone().name(name).bin_name(shown))
}

impl Completions {
    pub(crate) fn run(self) -> Ending {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "logrotor", &mut script);
        print(&script)
    }
}

fn print(text: &[u8]) -> Ending {
    let mut out = std::io::stdout().lock();
    out.write_all(text)?;
    out.flush()?;
    Ok(Exit::Success)
}
