//! Whether a backend obeys conditions. Some servers ignore them and report success to everybody.

use super::random_id;
use crate::error::{Error, ErrorKind, Result};
use crate::policy::backend::{Backend, Slot, Swap};

/// Asks for swaps that must be lost, on a slot without meaning. Others may do so at the same time.
///
/// # Errors
/// [`ErrorKind::PolicyUnconditional`] if a swap was won that must be lost.
pub(super) fn probe(backend: &dyn Backend) -> Result<()> {
    let swap = |seen| backend.compare_and_swap(Slot::Probe, seen, random_id().as_bytes());
    let lost = |outcome| match outcome {
        Swap::Lost => Ok(()),
        Swap::Won(_) => Err(ignores_conditions(backend.url())),
        Swap::Unknown(error) => Err(error),
    };
    let mut present = backend.load(Slot::Probe)?;
    if present.is_none() {
        if let Swap::Unknown(error) = swap(None) {
            return Err(error);
        }
        present = backend.load(Slot::Probe)?;
    }
    let Some(present) = present else {
        let why = "it does not return what was stored";
        return Err(Error::policy_unreachable("probe", backend.url(), why));
    };
    // There is a value, so it cannot be created.
    lost(swap(None))?;
    // Won or lost to another process: in both cases the value is another one then.
    if let Swap::Unknown(error) = swap(Some(&present.token)) {
        return Err(error);
    }
    lost(swap(Some(&present.token)))
}

fn ignores_conditions(url: &str) -> Error {
    let why = "it replaces a value that it was asked to replace only if it had not changed, so two \
               changes at a time would overwrite each other; use another server, or a newer version";
    Error::refused(ErrorKind::PolicyUnconditional, "use for policy", url, why)
}
