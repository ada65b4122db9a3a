//! Why the last build of a project failed, in a file: for the processes that serve the site and
//! don't build it.

use std::fs;
use std::io;

use super::places::{self, Places};
use crate::regular_file;

/// The maximum length of a message, in bytes: as much as is kept of what a compiler writes to
/// standard error. An explanation in a browser shows an eighth of it.
const MAX_BYTES: usize = 256 << 10;

/// Writes why a build failed: the reason in the first line, and the start of the compiler's output.
/// Replaces the file as a whole.
///
/// # Errors
///
/// Fails if it can't be written.
pub(super) fn write(places: &Places, file: &str, message: &str) -> io::Result<()> {
    places::create(&places.failures())?;
    let path = places.failure(file);
    let new = path.with_extension("new");
    let end = message.floor_char_boundary(MAX_BYTES);
    fs::write(&new, message.get(..end).unwrap_or_default())?;
    fs::rename(new, path)
}

/// Removes what an earlier build has written.
pub(super) fn remove(places: &Places, file: &str) {
    // Fails if there is nothing to remove.
    let _ = fs::remove_file(places.failure(file));
}

/// Returns why the last build of a project failed. `None` if it succeeded, or there was none.
pub(super) fn read(places: &Places, file: &str) -> Option<String> {
    regular_file::read_text(&places.failure(file), MAX_BYTES as u64).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_of_the_last_failure_is_known_until_it_is_removed() {
        let cache = tempfile::tempdir().expect("a folder");
        let places = Places::new(cache.path(), cache.path());
        let long = "é".repeat(MAX_BYTES);
        for (message, end) in [
            ("no main\n\nall of it", 18),
            ("another", 7),
            (&long, MAX_BYTES),
        ] {
            write(&places, "api/shop", message).expect("written");
            let known = read(&places, "api/shop");
            assert_eq!(known.as_deref(), message.get(..end));
        }
        assert_eq!(read(&places, "api"), None);
        remove(&places, "api/shop");
        assert_eq!(read(&places, "api/shop"), None);
    }
}
