//! The delivery of one segment: its object is created and verified.

use super::batch::Parcel;
use super::notes::ShipOutcome;
use crate::error::{Error, ErrorKind, Result};
use crate::segment::name::Compression;
use crate::store::{ArchiveStore, Created, ObjectState, Wanted};
use std::path::Path;

/// Creates and verifies one object.
pub(super) async fn deliver_one(
    store: &ArchiveStore,
    parcel: &Parcel,
    object: &str,
    ignores_conditions: bool,
) -> Result<ShipOutcome> {
    let Some(key) = store.url.key_of(object) else {
        return Ok(ShipOutcome::Conflict(Created::Yes));
    };
    let (bytes, digest, path) = (parcel.bytes, &parcel.digest, &parcel.path);
    let wanted = Wanted { key, bytes, digest };
    if ignores_conditions {
        match store.examine(&wanted, Created::Exists, path).await? {
            ObjectState::Same => return Ok(ShipOutcome::Verified),
            ObjectState::Other => return Ok(ShipOutcome::Conflict(Created::Exists)),
            ObjectState::Nothing => {}
        }
    }
    let kind = content_type(parcel.name.compression);
    let created = store.create(&wanted, parcel.body.clone(), kind, path).await?;
    match store.examine(&wanted, created, path).await? {
        ObjectState::Same => Ok(ShipOutcome::Verified),
        ObjectState::Other => Ok(ShipOutcome::Conflict(created)),
        // Some stores answer so while another request is under way.
        ObjectState::Nothing => {
            let why = format!("the store has no `{object}` after it was sent");
            Err(Error::refused(ErrorKind::ArchiveUnreachable, "archive", path, why))
        }
    }
}

/// The failure that a conflict is.
pub(super) fn conflict(created: Created, object: &str, path: &Path) -> Error {
    let why = match created {
        Created::Exists => format!(
            "`{object}` has other content, perhaps that of a copy of this machine or directory; it \
             stays, and the segment is archived under another origin"
        ),
        _ => format!("`{object}` reads back with other content; the segment stays here"),
    };
    Error::refused(ErrorKind::ArchiveConflict, "archive", path, why)
}

/// The type of a segment's content, as stores serve it. There is no `Content-Encoding`: with one,
/// clients decompress what they download.
fn content_type(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "text/plain; charset=utf-8",
        Compression::Gzip => "application/gzip",
        Compression::Zstd => "application/zstd",
    }
}
