//! Whether a file has changed, without reading it.

use std::fs;
use std::time::SystemTime;

/// What the file system says of a file. A file that is replaced by one of the same length within one tick of the
/// clock is told apart by its number where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp(Option<(Option<SystemTime>, u64, (u64, u64))>);

impl Stamp {
    /// Of the file behind any symbolic links; one that cannot be looked at has an empty stamp.
    pub(super) fn of(path: impl AsRef<std::path::Path>) -> Self {
        Self(fs::metadata(path).ok().map(|metadata| {
            let modified = metadata.modified().ok();
            (modified, metadata.len(), number(&metadata))
        }))
    }
}

#[cfg(unix)]
fn number(metadata: &fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;
    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
fn number(_: &fs::Metadata) -> (u64, u64) {
    (0, 0)
}
