//! The archive: the copy of finished segments in an object store.
//!
//! For each finished segment there is in the end exactly one object, whole and never changed. Until
//! it is verified, maintenance keeps the local file. The steps, each of which may be the last:
//!
//! | step | if the worker dies after it |
//! |---|---|
//! | 1. take a segment in its final form, oldest first; compute its digest | nothing was changed |
//! | 2. note the intent in the ledger: object, digest, claim; synced | the claim ends with the worker; another one resumes |
//! | 3. create the object, never replacing one | step 3 again: the store reports our own object |
//! | 4. verify the object: by the store's checksum, or by reading it back | step 3 again |
//! | 5. note in the ledger that it is verified; synced | done |
//! | 6. maintenance may remove the local file | done |
//!
//! A store that reports that an object exists is never believed: a lost answer makes it report our
//! own object. The object is examined. One with other content under our key is a conflict. It is
//! reported, never overwritten, and the segment gets a new key under another origin.
//!
//! The ledger and the rule for maintenance are in the module `ledger`.

mod batch;
mod by_hand;
mod confirm;
mod delivery;
mod notes;
mod origin;
mod pace;
mod round;
mod settings;
mod uploader;

pub use by_hand::{ArchivePlan, Archiver};
pub(crate) use settings::MAX_SEGMENT;
pub use settings::{Archive, Verification, WhenFull};
pub(crate) use uploader::{ArchiveClient, ArchiveSettings, Uploader};
