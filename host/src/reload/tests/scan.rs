//! The single listing at startup.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::{Program, Site, Texts};
use crate::registry::{ProblemKind, Version};
use crate::reload::{Load, LoadRequest, scan_once};

/// A loader that recalls all bytes it has seen, and counts the calls.
#[derive(Default)]
struct Knowing {
    texts: Texts,
    known: Mutex<HashMap<Version, String>>,
}

impl Load for Knowing {
    type Program = Program;

    fn load(&self, request: &LoadRequest<'_>) -> anyhow::Result<Program> {
        let program = self.texts.load(request)?;
        let text = program.text.clone();
        self.known
            .lock()
            .expect("no panic")
            .insert(request.version, text);
        Ok(program)
    }

    fn recall(&self, _path: &Path, version: Version) -> Option<Program> {
        let text = self.known.lock().expect("no panic").get(&version)?.clone();
        let drops = Arc::default();
        Some(Program { text, drops })
    }
}

#[test]
fn what_the_loader_knows_is_not_read() {
    let site = Site::new();
    site.write("handlers/hello.wasm", "one.");
    let loader = Knowing::default();
    for _ in 0..2 {
        let registry = scan_once(&site.handlers(), Vec::new(), &loader).registry();
        let hello = registry.handler("hello").expect("hello");
        assert_eq!(hello.program.text, "one.");
        assert_eq!(hello.version, Version::from_content(b"one."));
    }
    assert_eq!(loader.texts.count("hello"), 1);
}

#[test]
fn a_scan_takes_what_is_there() {
    let site = Site::new();
    for number in 0..20 {
        site.write(&format!("handlers/h{number}.wasm"), &format!("{number}."));
    }
    let loader = Texts::default();
    let registry = scan_once(&site.handlers(), Vec::new(), &loader).registry();
    assert_eq!(registry.handlers().len(), 20);
    for handler in registry.handlers() {
        assert_eq!(
            format!("h{}", handler.program.text),
            format!("{}.", handler.name)
        );
    }
    assert_eq!(registry.problems(), []);
    let nothing = scan_once(&site.path("missing"), Vec::new(), &loader).registry();
    assert_eq!(nothing.handlers().len(), 0);
    assert_eq!(nothing.problems()[0].kind, ProblemKind::Unreadable);
}

/// Counts how often a version is determined, for which an application's folder is hashed.
#[derive(Default)]
struct Counting(AtomicUsize);

impl Load for Counting {
    type Program = Program;

    fn load(&self, request: &LoadRequest<'_>) -> anyhow::Result<Program> {
        assert!((request.is_unchanged)() && (request.is_unchanged)());
        Ok(Program {
            text: String::new(),
            drops: Arc::default(),
        })
    }

    fn version(&self, _name: &str, _path: &Path, content: Version) -> Version {
        self.0.fetch_add(1, Ordering::Relaxed);
        content
    }
}

#[test]
fn an_application_is_hashed_once_after_its_load() {
    let site = Site::new();
    site.write("handlers/shop/app.py", "");
    let loader = Counting::default();
    let scan = scan_once(&site.handlers(), Vec::new(), &loader);
    assert!(scan.registry().handler("shop").is_some());
    // Looked up, read, and compared after the load.
    assert_eq!(loader.0.load(Ordering::Relaxed), 3);
}
