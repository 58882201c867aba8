//! Manual pages and shell completions for packages of the command.

use crate::cli::Cli;
use crate::exit::{CommandError, Exit, VerbResult};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::io::Write;

/// Generate a manual page, e.g. for `man -l -`
#[derive(Args)]
pub(crate) struct Man {
    /// The verb that the page describes, e.g. `write` or `policy set` [default: all of logrotor]
    #[arg(value_name = "COMMAND")]
    verbs: Vec<String>,
}

/// Generate shell completions
#[derive(Args)]
pub(crate) struct Completions {
    /// Name of the shell
    shell: Shell,
}

impl Man {
    pub(crate) fn run(self) -> VerbResult {
        let command = self
            .verbs
            .iter()
            .try_fold(with_pages(Cli::command()), |of, verb| verb_of(&of, verb))?;
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        print(&page)
    }
}

/// Removes the commands that have no page.
fn with_pages(command: clap::Command) -> clap::Command {
    command.disable_help_subcommand(true).mut_subcommands(with_pages)
}

/// Returns the command of one verb, under the name of its page.
fn verb_of(whole: &clap::Command, verb: &str) -> Result<clap::Command, CommandError> {
    let Some(found) = whole.find_subcommand(verb) else {
        let verbs: Vec<_> = whole.get_subcommands().map(clap::Command::get_name).collect();
        let right = match verbs.join(", ") {
            verbs if verbs.is_empty() => "it has none".to_owned(),
            verbs => format!("use one of {verbs}"),
        };
        let shown = whole.get_bin_name().unwrap_or_default();
        return Err(CommandError::usage(format!("`{shown}` has no command `{verb}`; {right}")));
    };
    let name = format!("{}-{verb}", whole.get_name());
    let shown = format!("{} {verb}", whole.get_bin_name().unwrap_or_default());
    Ok(found.clone().name(name).bin_name(shown))
}

impl Completions {
    pub(crate) fn run(self) -> VerbResult {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "logrotor", &mut script);
        print(&script)
    }
}

fn print(text: &[u8]) -> VerbResult {
    let mut out = std::io::stdout().lock();
    out.write_all(text)?;
    out.flush()?;
    Ok(Exit::Success)
}
