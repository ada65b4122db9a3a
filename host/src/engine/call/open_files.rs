//! The files and folders that an instance has open, with the permits for their descriptors.

use std::fs::File;
use std::sync::{Arc, Weak};

use crate::descriptor_limits::{DescriptorLimits, DescriptorPermit, Descriptors};

/// The files and folders that an instance has open.
#[derive(Debug, Default)]
pub(in crate::engine) struct OpenFiles {
    /// Each with its permit. A stream keeps its file open longer than the file's handle exists.
    files: Vec<(Weak<File>, DescriptorPermit)>,
    /// The granted folders, if only this request may use them.
    folders: Vec<Weak<File>>,
    /// The permits for the folders of its script and those that are granted.
    _folder_permits: Vec<DescriptorPermit>,
    /// The descriptors of the handler, once it has opened a file.
    handler: Option<Descriptors>,
}

impl OpenFiles {
    /// Creates the files of an instance that has the permits for its folders.
    pub(in crate::engine) fn new(folder_permits: Vec<DescriptorPermit>) -> Self {
        Self {
            _folder_permits: folder_permits,
            ..Self::default()
        }
    }

    /// Releases the permits of files that are closed.
    pub(in crate::engine) fn sweep(&mut self) {
        self.files.retain(|(file, _)| file.strong_count() > 0);
    }

    /// Sets the granted folders that only this request may use.
    pub(in crate::engine) fn set_folders(&mut self, folders: Vec<Weak<File>>) {
        self.folders = folders;
    }

    /// Takes all files and folders. Those that an operation still uses exist.
    pub(in crate::engine) fn take_files(&mut self) -> Vec<Weak<File>> {
        let mut files = std::mem::take(&mut self.folders);
        files.extend(self.files.drain(..).map(|(file, _)| file));
        files
    }

    /// Returns the permit for a further file, unless the handler or all handlers have too many
    /// descriptors.
    pub(in crate::engine) fn try_take(
        &mut self,
        handler: &str,
        limits: DescriptorLimits,
    ) -> Option<DescriptorPermit> {
        self.sweep();
        let descriptors = || Descriptors::for_handler(handler);
        self.handler
            .get_or_insert_with(descriptors)
            .try_take(limits)
    }

    /// Adds a file that is open.
    pub(in crate::engine) fn add(&mut self, file: &Arc<File>, permit: DescriptorPermit) {
        self.files.push((Arc::downgrade(file), permit));
    }
}

/// Returns the permits for a number of folders of a handler, unless the handler or all handlers
/// have too many descriptors.
pub(in crate::engine) fn try_take_folders(
    handler: &str,
    count: usize,
    limits: DescriptorLimits,
) -> Option<Vec<DescriptorPermit>> {
    let descriptors = Descriptors::for_handler(handler);
    (0..count).map(|_| descriptors.try_take(limits)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_counts_until_its_last_user_has_closed_it() {
        let limits = DescriptorLimits::new(2, usize::MAX);
        let file = || Arc::new(tempfile::tempfile().expect("a file"));
        let (mut one, mut other) = (OpenFiles::default(), OpenFiles::default());
        let (first, second) = (file(), file());
        let permit = one.try_take("files-one", limits).expect("one of two");
        one.add(&first, permit);
        let permit = other.try_take("files-one", limits).expect("two of two");
        other.add(&second, permit);
        assert!(one.try_take("files-one", limits).is_none());
        // A stream still reads it.
        let stream = Arc::clone(&first);
        drop(first);
        assert!(one.try_take("files-one", limits).is_none());
        drop(stream);
        assert!(one.try_take("files-one", limits).is_some());
        drop(other);
        assert!(try_take_folders("files-one", 2, limits).is_some());
    }

    #[test]
    fn folders_count_as_long_as_their_instance_exists() {
        let limits = DescriptorLimits::new(3, usize::MAX);
        let permits = try_take_folders("folders", 2, limits).expect("two of three");
        let mut one = OpenFiles::new(permits);
        assert!(try_take_folders("folders", 2, limits).is_none());
        assert!(one.try_take("folders", limits).is_some());
        drop(one);
        assert!(try_take_folders("folders", 3, limits).is_some());
    }
}
