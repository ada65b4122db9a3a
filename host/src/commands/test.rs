//! `wasgi test`: sends the requests of test files to the site's handlers and compares the
//! responses.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use anyhow::{Context, bail};

use super::error_log;
use super::projects;
use crate::check;
use crate::cli::{self, TrialSite};
use crate::dev;
use crate::drive::{Client, Driver, Ended, Mount, Request, Stays};
use crate::engine::{Engine, Program};
use crate::http1::Finish;
use crate::hurl::{self, Outgoing, Response};
use crate::printable;
use crate::registry::{Registry, Target};
use crate::regular_file::{self, ReadError};
use crate::reload;
use crate::router::RequestPath;
use crate::terminal::{self, Style};

/// The extension of test files.
const EXTENSION: &str = "hurl";

/// The maximum size of a test file, in bytes: far above any written by hand.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// The maximum size of a response's body, in bytes. A body beyond it is an endless stream, which a
/// test can't compare.
const MAX_BODY_BYTES: usize = 64 << 20;

/// The maximum number of characters of a body that a failed test shows.
const MAX_SHOWN_CHARACTERS: usize = 2000;

/// The maximum depth of folders below a named one: more is a loop of links.
const MAX_DEPTH: usize = 16;

/// The styles of the results of test files.
const STYLES: [(&str, Style); 2] = [("ok", Style::GREEN), ("fail", Style::RED)];

/// Runs `wasgi test`: sends the requests of test files and compares the responses. Returns exit
/// code 1 if one of them is not as expected.
///
/// # Errors
///
/// Fails if there are no test files, or if the configuration is invalid.
pub fn test(arguments: &cli::Test) -> anyhow::Result<ExitCode> {
    let site = arguments.trial.load()?;
    let errors = error_log::start(&site.config)?;
    let files = test_files(&arguments.files, &site.folder)?;
    let mut sender = Sender::new(site)?;
    let mut failed_count = 0_usize;
    for file in &files {
        let report = match test_file(file, &arguments.variables, &mut sender) {
            Ok(1) => format!("ok    {} (1 request)\n", file.display()),
            Ok(requests_count) => format!("ok    {} ({requests_count} requests)\n", file.display()),
            Err(report) => {
                failed_count += 1;
                report
            }
        };
        errors.flush();
        print(&report);
    }
    let passed_count = files.len() - failed_count;
    print(&format!("{passed_count} passed, {failed_count} failed\n"));
    Ok(match failed_count {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// Runs one test file. Returns the number of its requests.
///
/// # Errors
///
/// Fails with the report of what is wrong.
fn test_file(
    file: &Path,
    variables: &[(String, String)],
    sender: &mut Sender,
) -> Result<usize, String> {
    let shown = file.display();
    let text = read(file).map_err(|why| format!("fail  {shown}: {why}\n"))?;
    let entries = hurl::parse(&text).map_err(|invalid| format!("fail  {shown}:{invalid}\n"))?;
    let folder = file.parent().unwrap_or(Path::new(""));
    match hurl::run(&entries, folder, variables, sender) {
        Ok(()) => Ok(entries.len()),
        Err(failure) => Err(report(file, &failure)),
    }
}

fn report(file: &Path, failure: &hurl::Failure) -> String {
    let mut report = String::new();
    for (line, why) in &failure.problems {
        report += &format!("fail  {}:{line}: {why}\n", file.display());
    }
    if let Some(response) = &failure.response {
        report += &format!("      the response has status {}", response.status);
        let body = String::from_utf8_lossy(&response.body);
        let start: String = body.chars().take(MAX_SHOWN_CHARACTERS).collect();
        match start.trim_end() {
            "" => report += " and no body\n",
            start => {
                report += " and the body:\n";
                for line in start.lines() {
                    report += &format!("      | {line}\n");
                }
            }
        }
    }
    report
}

/// Prints a report. An error means that the reader has closed the pipe, which is fine.
fn print(report: &str) {
    let shown = printable::report(report).to_string();
    let shown = match terminal::has_colours(&io::stdout()) {
        true => terminal::paint_words(&shown, &STYLES),
        false => shown,
    };
    let _ = io::stdout().write_all(shown.as_bytes());
}

fn read(file: &Path) -> Result<String, String> {
    regular_file::read_text(file, MAX_FILE_BYTES).map_err(|error| match error {
        ReadError::NotRegular => "is not a regular file".to_owned(),
        ReadError::TooLarge(_) => format!("is {error}, the limit for a test file"),
        ReadError::Io(error) => error.to_string(),
    })
}

/// Returns the named test files and those in the named folders, by default in the site's `tests`.
fn test_files(named: &[PathBuf], site: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let default = [site.join("tests")];
    let named = if named.is_empty() { &default } else { named };
    let mut files = Vec::new();
    for path in named {
        match path.is_dir() {
            true => {
                let known = files.len();
                collect(path, MAX_DEPTH, &mut files)
                    .with_context(|| format!("{}: can't be read", path.display()))?;
                if files.len() == known {
                    bail!("{}: there is no *.{EXTENSION} file in it", path.display());
                }
            }
            false if path.exists() => files.push(path.clone()),
            false => bail!("{}: no such file or folder", path.display()),
        }
    }
    Ok(files)
}

/// Collects the test files in a folder, in the order of their names. Names with a leading dot are
/// skipped.
fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut entries = std::fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if is_hidden {
            continue;
        }
        match path.is_dir() {
            true if depth > 0 => collect(&path, depth - 1, files)?,
            true => {}
            false if path.extension().is_some_and(|found| found == EXTENSION) => files.push(path),
            false => {}
        }
    }
    Ok(())
}

/// A loaded handler.
type Loaded = Rc<(Program, Mount)>;

/// Sends requests to the handlers of a site, and loads each handler when it is first asked.
struct Sender {
    site: TrialSite,
    registry: Registry<Program>,
    engine: Engine,
    driver: Driver,
    loaded: BTreeMap<String, Result<Loaded, String>>,
    /// The results of the builds of projects, by their paths in the handlers folder.
    built: BTreeMap<String, PathBuf>,
}

impl Sender {
    fn new(site: TrialSite) -> anyhow::Result<Self> {
        let config = &site.config;
        let engine = Engine::new(&config.budget, &config.compile, config.site.code_cache())?
            .with_runtime(config.site.runtime().as_deref())
            .with_store(config.store())
            .with_lines(config.site.handlers());
        let policies = config.policies()?;
        engine.set_policies(policies.clone());
        let built = projects::build_all(config)?;
        let builds = config.site.builds().filter(|_| !built.is_empty());
        let scan = reload::list_built(config.site.handlers(), site.host(), builds);
        Ok(Self {
            built,
            registry: scan.registry(),
            driver: Driver::new(&engine, policies)?,
            engine,
            loaded: BTreeMap::new(),
            site,
        })
    }

    /// Returns the handler that a server of the site would call, loaded.
    fn handler(&mut self, path: &RequestPath) -> Result<Loaded, String> {
        let shown = String::from_utf8_lossy(path.decoded()).into_owned();
        let file = match self.registry.find(path).map(|found| found.target) {
            None => {
                return Err(format!(
                    "no handler answers at {shown} (pages are not tested)"
                ));
            }
            Some(Target::Pending(pending)) => pending.file.clone(),
            Some(Target::Handler(handler)) => handler.file.clone(),
        };
        let folder = self.registry.folder();
        let entry = self.loaded.entry(file.clone()).or_insert_with(|| {
            let path = folder.join(&file);
            let mount = self.site.mount(&path);
            let loads = self.built.get(&file).unwrap_or(&path);
            match check::load(&self.engine, mount.name(), loads) {
                Ok(program) => Ok(Rc::new((program, mount))),
                Err(findings) => {
                    let what: Vec<&str> = findings.iter().map(|one| one.what.as_str()).collect();
                    Err(format!("{}: {}", path.display(), what.join("; ")))
                }
            }
        });
        entry.clone()
    }
}

impl hurl::Send for Sender {
    fn send(&mut self, outgoing: &Outgoing) -> Result<Response, String> {
        let path = outgoing.target.split(['?', '#']).next().unwrap_or_default();
        let path = RequestPath::parse(path.as_bytes()).map_err(|error| error.to_string())?;
        let handler = self.handler(&path)?;
        let (program, mount) = &*handler;
        let mut request = Request::new(&outgoing.method, &outgoing.target);
        for (name, value) in &outgoing.fields {
            request = request.with(name, value);
        }
        if let Some(body) = &outgoing.body {
            request = request.with_body(&[body]);
        }
        let ended = self
            .driver
            .send(program, mount, [(request, Receiver::default())], false)
            .map_err(|error| error.to_string())?;
        let ended = ended.into_iter().next().ok_or("there is no response")?;
        response(mount.name(), self.registry.folder(), ended)
    }
}

/// Returns the response, or why there is no complete one. A failure of the handler before its
/// response begins is logged, and the response is the server's error page, without its text.
fn response(name: &str, handlers: &Path, ended: Ended<Receiver>) -> Result<Response, String> {
    if let Some(failure) = &ended.failure {
        tracing::error!(
            handler = name,
            "{}",
            dev::explained(failure, handlers, name)
        );
    }
    let received = ended.client;
    match (ended.finish, ended.failure) {
        (_, Some(failure)) if received.status.is_none() => Ok(Response {
            status: failure.status(),
            ..Response::default()
        }),
        _ if received.body.len() > MAX_BODY_BYTES => {
            let limit = MAX_BODY_BYTES >> 20;
            Err(format!(
                "the body is longer than {limit} MiB, or has no end"
            ))
        }
        (Some(Finish::Whole), None) => Ok(Response {
            status: received.status.unwrap_or_default(),
            fields: fields(&received.head),
            body: received.body,
        }),
        (_, Some(failure)) => Err(format!("the response is incomplete: {failure}")),
        (Some(Finish::Short), None) => {
            Err("the response is incomplete: it is shorter than its Content-Length".to_owned())
        }
        (_, None) => Err("the response is incomplete".to_owned()),
    }
}

/// Returns the fields of a head as it is sent, without the status line.
fn fields(head: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(head);
    let lines = text.split("\r\n").skip(1);
    let pairs = lines.filter_map(|line| line.split_once(':'));
    pairs
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

/// Collects a response.
#[derive(Debug, Default)]
struct Receiver {
    status: Option<u16>,
    head: Vec<u8>,
    body: Vec<u8>,
}

impl Client for Receiver {
    fn head(&mut self, status: u16, bytes: &[u8]) {
        self.status = Some(status);
        self.head = bytes.to_vec();
    }

    fn body(&mut self, bytes: &[u8]) {
        if self.body.len() <= MAX_BODY_BYTES {
            self.body.extend_from_slice(bytes);
        }
    }

    fn stays(&self) -> Stays {
        match self.body.len() > MAX_BODY_BYTES {
            true => Stays::No,
            false => Stays::Yes,
        }
    }
}
