//! Editing a text in the user's editor.

use crate::exit::CommandError;
use logrotor::Error;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use tempfile::NamedTempFile;

/// Has the user edit a copy of a text. Returns the copy and its text.
pub(crate) fn edited(text: &str) -> Result<(NamedTempFile, String), CommandError> {
    let copy = tempfile::Builder::new().prefix("policy-").suffix(".toml").tempfile();
    let copy =
        copy.map_err(|error| failed("make a copy to edit", &std::env::temp_dir(), &error))?;
    std::fs::write(copy.path(), text).map_err(|error| failed("write", copy.path(), &error))?;
    edit(copy.path())?;
    let text = std::fs::read_to_string(copy.path())
        .map_err(|error| failed("read", copy.path(), &error))?;
    Ok((copy, text))
}

/// Keeps a text that was rejected.
pub(crate) fn keep(copy: NamedTempFile, error: &Error) -> CommandError {
    let kept = match copy.keep() {
        Ok((_, path)) => format!("your text is kept in `{}`", path.display()),
        Err(error) => format!("your text could not be kept: {error}"),
    };
    CommandError::Failed(format!("{error}; {kept}; the policy is unchanged"))
}

fn edit(path: &Path) -> Result<(), CommandError> {
    let chosen = |name| std::env::var_os(name).filter(|editor| !editor.is_empty());
    let editor =
        chosen("VISUAL").or_else(|| chosen("EDITOR")).unwrap_or_else(|| OsString::from("vi"));
    // The variable may contain options, as in `code --wait`.
    let status = if cfg!(windows) {
        Command::new(&editor).arg(path).status()
    } else {
        let mut line = editor.clone();
        line.push(" \"$1\"");
        Command::new("sh").arg("-c").arg(line).arg("sh").arg(path).status()
    };
    let status = status.map_err(|error| failed("start the editor", Path::new(&editor), &error))?;
    if status.success() {
        return Ok(());
    }
    let editor = editor.to_string_lossy();
    Err(CommandError::Failed(format!(
        "the editor `{editor}` failed with {status}; the policy is unchanged; set VISUAL or EDITOR to use another one"
    )))
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> CommandError {
    CommandError::Failed(format!("failed to {what} `{}`: {error}", path.display()))
}
