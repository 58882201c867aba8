//! The tree: its files, and whose share each is.

use std::fs::Metadata;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::Path;

/// A file of the tree.
pub(crate) struct Found<'a> {
    pub(crate) path: &'a Path,
    /// 1 for a file in the root itself.
    pub(crate) depth: usize,
    entry: &'a std::fs::DirEntry,
}

impl Found<'_> {
    pub(crate) fn metadata(&self) -> io::Result<Metadata> {
        self.entry.metadata()
    }

    /// Whether the file belongs to the share of `worker`. By its path, so that all workers agree
    /// without a word, and in whatever order each of them walks.
    pub(crate) fn is_share_of(&self, worker: usize, workers: usize) -> bool {
        let mut hasher = DefaultHasher::new();
        self.path.hash(&mut hasher);
        hasher.finish() % workers as u64 == worker as u64
    }
}

/// How many files there are.
pub(crate) fn count(root: &Path) -> io::Result<u64> {
    let mut files = 0;
    walk(root, 1, &mut |_| {
        files += 1;
        Ok(())
    })?;
    Ok(files)
}

/// Shows every regular file to `visit`. Links are not followed; directories below the root that
/// cannot be read are left out.
pub(crate) fn walk(
    dir: &Path,
    depth: usize,
    visit: &mut dyn FnMut(Found<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let entries = match std::fs::read_dir(dir) {
        Err(_) if depth > 1 => return Ok(()),
        entries => entries?,
    };
    for entry in entries.flatten() {
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            walk(&path, depth + 1, visit)?;
        } else if kind.is_file() {
            visit(Found { path: &path, depth, entry: &entry })?;
        }
    }
    Ok(())
}
