//! Certificates that were issued and can't be stored, because the disk is full or the folder can't
//! be written, and records of attempts. They are kept in memory until they are stored: an authority
//! issues only a few certificates for the same names.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::folder::Folder;
use super::record::Record;

/// Serves a certificate, by its file's path and its content in PEM.
pub(super) type Serve = Box<dyn Fn(&Path, &[u8]) -> anyhow::Result<()> + Send>;

/// What is not stored yet, by the first of a certificate's names. There is at most one certificate
/// and one record for each.
pub(super) struct Unstored {
    serve: Serve,
    certificates: BTreeMap<String, Vec<u8>>,
    records: BTreeMap<String, Record>,
}

impl Unstored {
    /// Creates an empty set whose certificates are served by `serve`.
    pub(super) fn new(serve: Serve) -> Self {
        Self {
            serve,
            certificates: BTreeMap::new(),
            records: BTreeMap::new(),
        }
    }

    /// Returns the last certificate and its key: from memory, or from the folder.
    pub(super) fn certificate(&self, folder: &Folder, name: &str) -> Option<Vec<u8>> {
        let unstored = self.certificates.get(name).cloned();
        unstored.or_else(|| folder.certificate(name))
    }

    /// Returns the last record: from memory, or from the folder.
    pub(super) fn record(&self, folder: &Folder, name: &str) -> Record {
        let unstored = self.records.get(name).cloned();
        unstored.unwrap_or_else(|| folder.record(name))
    }

    /// Serves a certificate that can't be stored, and keeps it.
    pub(super) fn add(&mut self, folder: &Folder, name: &str, pem: Vec<u8>) {
        self.serve(folder, name, &pem);
        self.certificates.insert(name.to_owned(), pem);
    }

    /// Writes a record, or keeps it if that fails.
    pub(super) fn set_record(&mut self, folder: &Folder, name: &str, record: Record) {
        self.records.insert(name.to_owned(), record);
        self.store_records(folder);
    }

    /// Stores what can be stored by now, and serves the other certificates: a virtual host may be
    /// new since the last time.
    pub(super) fn store(&mut self, folder: &Folder) {
        if self.certificates.is_empty() && self.records.is_empty() {
            return;
        }
        // If it can't be created, writing the files fails.
        let _ = folder.create();
        for (name, pem) in std::mem::take(&mut self.certificates) {
            match folder.set_certificate(&name, &pem) {
                Ok(()) => tracing::info!("acme: {name}: the certificate is stored now"),
                Err(_) => self.add(folder, &name, pem),
            }
        }
        self.store_records(folder);
    }

    fn store_records(&mut self, folder: &Folder) {
        self.records
            .retain(|name, record| folder.set_record(name, record).is_err());
    }

    fn serve(&self, folder: &Folder, name: &str, pem: &[u8]) {
        if let Err(error) = (self.serve)(&folder.certificate_file(name), pem) {
            tracing::error!("acme: {name}: not served: {error:#}");
        }
    }
}

impl fmt::Debug for Unstored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unstored")
            .field("certificates", &self.certificates.len())
            .field("records", &self.records.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn what_cannot_be_stored_is_served_and_stored_later() {
        let outer = tempfile::tempdir().expect("a folder");
        let folder = Folder::new(outer.path());
        folder.create().expect("created");
        let (served, serving) = channel();
        let mut unstored = Unstored::new(Box::new(move |file, pem| {
            Ok(served.send((file.to_owned(), pem.to_vec()))?)
        }));
        let mut record = Record::default();
        record.begin("d", &["a.test".into()], 5, 0.0);

        // Not even root can write below a file.
        let certificates = outer.path().join("certificates");
        fs::remove_dir(&certificates).expect("removed");
        fs::write(&certificates, "a file").expect("written");
        unstored.add(&folder, "a.test", b"pem".to_vec());
        unstored.set_record(&folder, "a.test", record.clone());
        unstored.store(&folder);
        let expected = (folder.certificate_file("a.test"), b"pem".to_vec());
        assert_eq!(
            serving.try_iter().collect::<Vec<_>>(),
            [expected.clone(), expected]
        );
        assert_eq!(folder.certificate("a.test"), None);
        assert_eq!(
            unstored.certificate(&folder, "a.test"),
            Some(b"pem".to_vec())
        );
        assert_eq!(unstored.record(&folder, "a.test"), record);

        fs::remove_file(&certificates).expect("removed");
        unstored.store(&folder);
        assert_eq!(folder.certificate("a.test"), Some(b"pem".to_vec()));
        assert_eq!(folder.record("a.test"), record);
        // The folder's are used from now on.
        folder.set_certificate("a.test", b"next").expect("written");
        unstored.store(&folder);
        assert_eq!(
            unstored.certificate(&folder, "a.test"),
            Some(b"next".to_vec())
        );
        assert_eq!(serving.try_iter().count(), 0);
    }
}
