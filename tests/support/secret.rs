//! A secret, and where a test looks for it: in texts, in processes and in files.

use std::fs;
use std::path::Path;
use std::process;
use std::time::{Duration, SystemTime};

use memchr::memmem;

use super::eventually;
use super::guests::page;
use super::scripts::until;
use super::server::Server;
use super::site::Site;

/// The difference that there can be between the system's clock and the times of files.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(2);

/// A text that must appear nowhere.
#[derive(Debug)]
pub(crate) struct Secret {
    text: &'static str,
    since: SystemTime,
}

impl Secret {
    /// Creates a secret that no file has before this time.
    pub(crate) fn new(text: &'static str) -> Secret {
        Secret {
            text,
            since: SystemTime::now() - CLOCK_DIFFERENCE,
        }
    }

    #[track_caller]
    pub(crate) fn expect_not_in(&self, what: &str, text: &str) {
        assert!(!text.contains(self.text), "{what} has it: {text}");
    }

    /// Checks the arguments and environments of the server's processes, `at_least` this many and
    /// one that compiles a handler.
    #[track_caller]
    pub(crate) fn expect_in_no_process(&self, server: &Server, site: &Site, at_least: usize) {
        eventually("one of its processes compiles", || {
            // Of which there is no compiled code. Its process ends a few seconds later.
            let text = format!("{:?} {}", SystemTime::now(), process::id());
            site.replace_handler("new.wat", page(&text));
            until(server, "/new", &text);
            let processes = server.arguments_and_environments();
            for (file, text) in &processes {
                self.expect_not_in(file, text);
            }
            // Two files of each.
            assert!(processes.len() >= 2 * at_least, "{processes:?}");
            let mut texts = processes.iter().map(|(_, text)| text);
            texts.any(|text| text.contains("compile-for-server"))
        });
    }

    /// Checks the files of a folder that were written since this secret was created. Returns their
    /// number. `except` is the one that must have it.
    #[track_caller]
    pub(crate) fn expect_in_no_file(&self, folder: &Path, except: Option<&Path>) -> usize {
        // Other tests may remove files of the code cache meanwhile.
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut count = 0;
        for path in entries.map(|entry| entry.path()) {
            let Ok(metadata) = path.symlink_metadata() else {
                continue;
            };
            if metadata.is_dir() {
                count += self.expect_in_no_file(&path, except);
                continue;
            }
            let is_new = metadata.modified().is_ok_and(|time| time >= self.since);
            if !is_new || !metadata.is_file() || except == Some(&path) {
                continue;
            }
            let bytes = fs::read(&path).unwrap_or_default();
            let found = memmem::find(&bytes, self.text.as_bytes());
            assert_eq!(found, None, "{} has it", path.display());
            count += 1;
        }
        count
    }
}
