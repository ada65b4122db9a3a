//! The certificates of a site: those in files, and those that the server obtains itself.

use std::path::Path;

use super::complaint::Complaint;
use super::sections::Config;
use crate::acme::{AcmeSetup, Folder};
use crate::server::tls::{CertificateFiles, HostCertificate, WantedCertificates};

impl Config {
    /// Returns the certificates to serve.
    ///
    /// # Errors
    ///
    /// Fails if the keys for one are inconsistent.
    pub(crate) fn certificates(&self) -> anyhow::Result<WantedCertificates> {
        let folder = Folder::new(self.acme.folder());
        let obtained = self.acme.names.first();
        let obtained = obtained.map(|name| files(&folder, name));
        let challenges = self.obtains_certificates();
        let challenges = challenges.then(|| folder.challenges().clone());
        WantedCertificates::new(&self.tls, obtained, self.host_certificates(), challenges)
    }

    /// Returns the certificates of virtual hosts that have one.
    pub(crate) fn host_certificates(&self) -> Vec<HostCertificate> {
        let folder = Folder::new(self.acme.folder());
        let own = self.hosts.iter().filter_map(|(name, host)| {
            Some(HostCertificate {
                names: host.names(name).map(str::to_owned).collect(),
                files: match host.acme {
                    true => files(&folder, name),
                    false => CertificateFiles {
                        cert: host.cert.clone()?,
                        key: host.key.clone()?,
                        is_obtained: false,
                    },
                },
            })
        });
        own.collect()
    }

    /// Reports whether the server obtains certificates, or may do so after a change of the
    /// configuration.
    pub(crate) fn obtains_certificates(&self) -> bool {
        self.acme.agree_to_terms
    }

    /// Returns the folder of certificates that the server obtains, if it does so.
    pub(crate) fn acme_in_use(&self) -> Option<&Path> {
        self.obtains_certificates().then(|| self.acme.folder())
    }

    /// Returns the names of each certificate to obtain. The first is that of its files.
    pub(crate) fn obtained_certificates(&self) -> Vec<Vec<String>> {
        let of_site = Some(self.acme.names.clone()).filter(|names| !names.is_empty());
        let hosts = self.hosts.iter().filter(|(_, host)| host.acme);
        let of_hosts = hosts.map(|(name, host)| host.names(name).map(str::to_owned).collect());
        of_site.into_iter().chain(of_hosts).collect()
    }

    /// Returns what the thread that obtains certificates works with.
    pub(crate) fn acme_setup(&self) -> AcmeSetup {
        AcmeSetup {
            options: self.acme.clone(),
            has_plain_listener: self.tls.redirect_http.is_some(),
            certificates: self.obtained_certificates(),
        }
    }

    /// Checks the section `[acme]`.
    pub(super) fn check_acme(&self) -> Result<(), Complaint> {
        let is_used = !self.obtained_certificates().is_empty();
        let checked = self.acme.check(is_used, self.tls.redirect_http.is_some());
        checked.map_err(|(key, why)| Complaint::new(key, why))?;
        if self.acme.names.is_empty() {
            return Ok(());
        }
        if self.tls.cert.is_some() || self.tls.key.is_some() {
            let why = "has no effect with tls.cert and tls.key: remove one of them";
            return Err(Complaint::new("acme.names", why));
        }
        let of_hosts = self.hosts.iter();
        let mut of_hosts = of_hosts.flat_map(|(host, it)| it.names(host).map(move |it| (host, it)));
        match of_hosts.find(|(_, name)| self.acme.names.iter().any(|own| own == name)) {
            Some((host, name)) => {
                let why = format!("{name} is a name of hosts.{host}: set hosts.{host}.acme");
                Err(Complaint::new("acme.names", why))
            }
            None => Ok(()),
        }
    }
}

/// Returns the files of a certificate that is obtained.
fn files(folder: &Folder, name: &str) -> CertificateFiles {
    let file = folder.certificate_file(name);
    CertificateFiles {
        cert: file.clone(),
        key: file,
        is_obtained: true,
    }
}
