//! `wasgi run`: sends one request to one handler and prints the response to standard output.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};

use super::error_log;
use super::projects::find_or_build;
use crate::check;
use crate::cli;
use crate::dev;
use crate::drive::{Client, Driver, Ended, Framing, Mount, Request, Stays};
use crate::engine::Engine;
use crate::http1::Finish;

/// The size of one piece of a request's body, in bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// The first status that is a failure of the handler (RFC 9110 section 15.6), and so of the
/// command.
const FIRST_FAILURE: u16 = 500;

/// Runs `wasgi run`: prints the response to one request. Returns exit code 1 if the response is
/// incomplete, or if its status is 500 or above.
///
/// # Errors
///
/// Fails if the handler does not exist or does not load, or if the request is invalid.
pub fn run(arguments: &cli::Run) -> anyhow::Result<ExitCode> {
    let site = arguments.trial.load()?;
    let config = &site.config;
    let errors = error_log::start(config)?;
    let ready = find_or_build(&arguments.handler, config)?;
    let mount = site.mount(&ready.file);
    let request = request(arguments, &mount)?;
    let engine = Engine::new(&config.budget, &config.compile, config.site.code_cache())?
        .with_runtime(config.site.runtime().as_deref())
        .with_store(config.store())
        .with_lines(config.site.handlers());
    let policies = config.policies()?;
    engine.set_policies(policies.clone());
    let program = match check::load(&engine, mount.name(), &ready.path) {
        Ok(program) => program,
        Err(findings) => {
            let what: Vec<&str> = findings.iter().map(|one| one.what.as_str()).collect();
            bail!("{}: {}", ready.file.display(), what.join("; "));
        }
    };
    let driver = Driver::new(&engine, policies)?;
    let printer = Printer::new(!arguments.body_only);
    let ended = driver
        .send(&program, &mount, [(request, printer)], false)
        .context("that is no request")?;
    let is_good = ended
        .iter()
        .all(|ended| tell(&mount, config.site.handlers(), ended));
    errors.flush();
    Ok(if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Logs the failures of a request. Returns whether it succeeded.
fn tell(mount: &Mount, handlers: &Path, ended: &Ended<Printer>) -> bool {
    let name = mount.name();
    if let Some(failure) = &ended.failure {
        tracing::error!(
            handler = name,
            "{}",
            dev::explained(failure, handlers, name)
        );
        if ended.head.is_none() {
            tracing::error!(
                handler = name,
                "the client would get status {}",
                failure.status()
            );
        }
    }
    if ended.finish == Some(Finish::Short) {
        tracing::error!(
            handler = name,
            "the body is shorter than its Content-Length"
        );
    }
    let status = ended.head.as_ref().map(|head| head.status);
    ended.failure.is_none()
        && ended.finish == Some(Finish::Whole)
        && status.is_some_and(|status| status < FIRST_FAILURE)
}

fn request(arguments: &cli::Run, mount: &Mount) -> anyhow::Result<Request> {
    let body = arguments.data.as_deref().map(read).transpose()?;
    let default = if body.is_some() { "POST" } else { "GET" };
    let (method, target) = method_and_target(arguments)?;
    let method = method.unwrap_or(default);
    let example = mount.example();
    let target = match target {
        Some(query) if query.starts_with('?') => format!("{example}{query}"),
        Some(target) => target.to_owned(),
        None => example.to_owned(),
    };
    let mut request = Request::new(method, &target);
    for field in &arguments.fields {
        let (name, value) = field
            .split_once(':')
            .with_context(|| format!("-H {field:?}: expected NAME: VALUE"))?;
        request = request.with(name, value.trim().as_bytes());
    }
    if let Some(body) = body {
        request.upload.framing = Framing::Length(body.len() as u64);
        request.upload.pieces = body.chunks(PIECE_BYTES).map(<[u8]>::to_vec).collect();
    }
    Ok(request)
}

/// Returns the method and the target, as given: `wasgi run hello /hello` omits the method.
fn method_and_target(arguments: &cli::Run) -> anyhow::Result<(Option<&str>, Option<&str>)> {
    let (method, target) = (arguments.method.as_deref(), arguments.path.as_deref());
    let is_target = |text: &&str| text.starts_with(['/', '?']) || text.contains("://");
    match (method.filter(is_target), target) {
        (None, _) => Ok((method, target)),
        (Some(target), None) => Ok((None, Some(target))),
        (Some(target), Some(method)) => {
            let handler = arguments.handler.display();
            bail!("the method goes before the path: wasgi run {handler} {method} {target}")
        }
    }
}

fn read(data: &str) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    match data.strip_prefix('@') {
        None => return Ok(data.as_bytes().to_vec()),
        Some("-") => io::stdin().read_to_end(&mut body),
        Some(file) => File::open(file).and_then(|mut file| file.read_to_end(&mut body)),
    }
    .with_context(|| format!("-d {data}: can't be read"))?;
    Ok(body)
}

/// Prints a response as it arrives.
#[derive(Debug)]
struct Printer {
    has_head: bool,
    /// Whether the reader of the output has closed the pipe.
    is_broken: bool,
}

impl Printer {
    fn new(has_head: bool) -> Self {
        Self {
            has_head,
            is_broken: false,
        }
    }

    fn print(&mut self, bytes: &[u8]) {
        let mut out = io::stdout().lock();
        self.is_broken |= out.write_all(bytes).and_then(|()| out.flush()).is_err();
    }
}

impl Client for Printer {
    fn takes_streams(&self) -> bool {
        true
    }

    fn head(&mut self, _status: u16, bytes: &[u8]) {
        if self.has_head {
            self.print(bytes);
        }
    }

    fn body(&mut self, bytes: &[u8]) {
        self.print(bytes);
    }

    fn stays(&self) -> Stays {
        if self.is_broken {
            Stays::No
        } else {
            Stays::Yes
        }
    }
}
