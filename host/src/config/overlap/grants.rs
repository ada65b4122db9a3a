//! The rules for folders that are granted to handlers: in none of them may a handler extend its own
//! rights.

use std::path::Path;

use super::Rule;
use crate::config::sections::Config;

/// Returns the rules for folders that are granted to handlers. None of them can be allowed.
pub(super) fn rules<'c>(
    config: &'c Config,
    file: &'c Path,
    state: Option<&'c Path>,
) -> impl Iterator<Item = Rule<'c>> {
    let (site, tls) = (&config.site, &config.tls);
    let tables = config.handlers.iter();
    tables.flat_map(move |(name, handler)| {
        let secrets: Vec<&Path> = handler.grants().secret_files().collect();
        handler.files.iter().flat_map(move |granted| {
            let rule = |folder, part, part_is, why| Rule {
                key: format!("handlers.{name}.files"),
                folder,
                part,
                part_is,
                why,
                is_secret: true,
                hides_names: false,
            };
            let source = granted.source.as_path();
            let readable = tls.key.as_deref().map(|key| {
                let why = "the handler could read it; grant a folder without it";
                rule(source, key, "private key", why)
            });
            let keys = "the handler could read private keys; grant another folder";
            let obtained = config.acme_in_use().into_iter().flat_map(|acme| {
                [
                    rule(source, acme, "folder of certificates and their keys", keys),
                    rule(acme, source, "granted folder", keys),
                ]
            });
            let obtained: Vec<_> = obtained.collect();
            let extends = "the handler could grant itself more; grant a folder without it";
            let replaces = "the handler could replace handlers; grant another folder";
            let mut writable = vec![
                rule(source, file, "configuration", extends),
                rule(source, site.handlers(), "folder of handlers", replaces),
                rule(site.handlers(), source, "granted folder", replaces),
            ];
            let cache = site.code_cache().map(|it| it.folder);
            writable.extend(cache.into_iter().flat_map(|cache| {
                [
                    rule(source, cache, "folder of compiled code", replaces),
                    rule(cache, source, "granted folder", replaces),
                ]
            }));
            let changes = "the handler could change it; grant a folder without it";
            let secrets = secrets.iter();
            writable.extend(secrets.map(|secret| rule(source, secret, "secret", changes)));
            let cert = tls.cert.as_deref();
            writable.extend(cert.map(|cert| rule(source, cert, "certificate", changes)));
            let writable = writable.into_iter().filter(|_| granted.writable);
            let others = "the handler could read the state of others; grant another folder";
            let mut of_state = Vec::new();
            if let Some(state) = state {
                of_state.push(rule(source, state, "folder of state", others));
                of_state.push(rule(state, source, "granted folder", others));
            }
            let readable = readable.into_iter().chain(obtained);
            readable.chain(of_state).chain(writable)
        })
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::config::Draft;
    use crate::config::overlap::overlaps;
    use crate::config::overlap::tests::site;
    use crate::config::site::Site;
    use crate::grants::{BucketOptions, FolderOptions, SecretSource};
    use crate::policy::Handler;

    #[test]
    fn no_folder_is_granted_in_which_a_handler_could_extend_its_rights() {
        let site = site();
        let at = |path: &str| site.path().join(path);
        fs::create_dir_all(at("data")).expect("a folder");
        let found = |source: &str, writable: bool| {
            let mut draft = Draft::default();
            draft.config.site = Site {
                root: Some(at("html")),
                handlers: Some(at("handlers")),
                code_cache: Some(at("code")),
                ..Site::default()
            };
            draft.config.tls.key = Some(at("keys/key.pem"));
            let files = FolderOptions {
                source: at(source),
                destination: "/data".into(),
                writable,
                exclusive: None,
            };
            let secret = SecretSource::File(at("secrets/key"));
            let handler = Handler {
                files: vec![files],
                secrets: [("KEY".to_owned(), secret)].into(),
                key_value: vec![BucketOptions::Own("default".into())],
                ..Handler::default()
            };
            draft.config.handlers = [("a".to_owned(), handler)].into_iter().collect();
            draft.config.state.folder = Some(at("state"));
            let overlaps = overlaps(&draft.config, &at("wasgi.toml"));
            assert!(overlaps.iter().all(|overlap| overlap.is_refused(true)));
            overlaps.len()
        };
        for (source, readable, writable) in [
            ("data", 0, 0),
            ("html", 0, 0),
            ("keys", 1, 1),
            ("secrets", 0, 1),
            ("handlers", 0, 2),
            ("handlers/deep", 0, 1),
            ("code", 0, 2),
            ("code/deep", 0, 1),
            ("state", 2, 2),
            ("state/deep", 1, 1),
            // The key, the state, the configuration, the handlers, the code and the secret.
            (".", 2, 6),
            ("data/..", 2, 6),
        ] {
            assert_eq!(found(source, false), readable, "{source}");
            assert_eq!(found(source, true), writable, "{source}, writable");
        }
    }
}
