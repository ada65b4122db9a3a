//! Suggests the right flag or command for one that other servers use.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Flags of other servers: their names, the advice, with `{}` for the given value, and an example
/// value to show if none was given.
const FLAGS: [(&[&str], &str, &str); 15] = [
    (
        &["--port", "-p", "-P", "--listen-port", "--http-port"],
        "did you mean `--addr 127.0.0.1:{}`?",
        "8000",
    ),
    (
        &["--host", "--ip", "--interface", "--hostname"],
        "did you mean `--addr {}:8000`?",
        "127.0.0.1",
    ),
    (
        &["--bind", "-b", "--listen", "-l", "--address", "-a"],
        "did you mean `--addr {}`?",
        "127.0.0.1:8000",
    ),
    (
        &["--workers", "-w", "-n"],
        "did you mean `--processes {}`? `--threads` are threads in each",
        "2",
    ),
    (&["-j", "--jobs"], "did you mean `--threads {}`?", "2"),
    (
        &[
            "--cert",
            "--certificate",
            "--certfile",
            "--ssl-cert",
            "--ssl-certfile",
        ],
        "did you mean `--tls-cert {}`?",
        "FILE",
    ),
    (
        &[
            "--key",
            "--keyfile",
            "--ssl-key",
            "--ssl-keyfile",
            "--private-key",
        ],
        "did you mean `--tls-key {}`?",
        "FILE",
    ),
    (
        &[
            "--dir",
            "--directory",
            "-d",
            "--docroot",
            "--document-root",
            "--static",
            "--public",
            "--www",
            "--html",
            "--pages",
        ],
        "did you mean `--root {}`?",
        "FOLDER",
    ),
    (
        &["--site", "-s"],
        "the site is an argument, not a flag: `wasgi serve {}`",
        "SITE",
    ),
    (
        &["--timeout", "-t"],
        "`--max-wall-time {}` limits a handler, `--request-timeout {}` a client",
        "30",
    ),
    (
        &["--memory", "-m"],
        "did you mean `--max-memory {}`?",
        "128",
    ),
    (
        &["-c", "--config-file", "--conf", "-f"],
        "did you mean `--config {}`?",
        "FILE",
    ),
    (
        &["--env", "-e", "--environ"],
        "handlers get no variables of the process",
        "",
    ),
    (
        &["--reload", "--watch", "--debug", "--dev", "--hot", "--live"],
        "leave it out: files are always reloaded when they change",
        "",
    ),
    (
        &["--daemon", "-D", "--background", "--detach"],
        "leave it out: a service manager such as systemd starts it in the background",
        "",
    ),
];

/// Commands of other programs, each with the advice for its equivalent here.
const COMMANDS: [(&[&str], &str); 4] = [
    (
        &[
            "start",
            "server",
            "run-server",
            "runserver",
            "up",
            "dev",
            "listen",
            "http",
        ],
        "did you mean `wasgi serve`?",
    ),
    (
        &["compile", "componentize", "package"],
        "did you mean `wasgi build`?",
    ),
    (
        &["new", "init", "create"],
        "`cargo new --lib handlers/NAME` creates a handler's package: README.md, \"A handler in \
         two minutes\"",
    ),
    (
        &["test", "validate", "lint", "verify"],
        "did you mean `wasgi check`?",
    ),
];

/// Adds advice to clap's error, if there is any for this mistake, and removes clap's hint to pass
/// the flag as a value, which never applies.
pub(super) fn explain(mut error: clap::Error, arguments: &[OsString]) -> clap::Error {
    let advice = match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(flag))) => {
            let flag = flag.clone();
            if error.get(ContextKind::SuggestedArg).is_none() || is_synonym(&flag) {
                error.remove(ContextKind::Suggested);
            }
            of_flag(&flag, arguments)
        }
        (ErrorKind::InvalidSubcommand, _) => match error.get(ContextKind::InvalidSubcommand) {
            Some(ContextValue::String(command)) => of_command(command),
            _ => None,
        },
        _ => None,
    };
    if let Some(advice) = advice {
        error.remove(ContextKind::SuggestedArg);
        error.remove(ContextKind::SuggestedSubcommand);
        let advice = StyledStr::from(advice);
        error.insert(
            ContextKind::Suggested,
            ContextValue::StyledStrs(vec![advice]),
        );
    }
    error
}

fn is_synonym(flag: &str) -> bool {
    FLAGS.iter().any(|(names, ..)| names.contains(&flag))
}

/// Returns the advice for an unknown flag.
fn of_flag(flag: &str, arguments: &[OsString]) -> Option<String> {
    let (_, advice, example) = FLAGS.iter().find(|(names, ..)| names.contains(&flag))?;
    let value = value_of(flag, arguments).unwrap_or_else(|| (*example).to_owned());
    // A host that already includes a port.
    let advice = match value.contains(':') {
        true => advice
            .replace("{}:8000", "{}")
            .replace("127.0.0.1:{}", "{}"),
        false => (*advice).to_owned(),
    };
    Some(advice.replace("{}", &value))
}

/// Returns the value of a flag: after `=`, after the one letter, or the next argument.
fn value_of(flag: &str, arguments: &[OsString]) -> Option<String> {
    let at = arguments
        .iter()
        .position(|argument| argument.to_str().is_some_and(|text| is_given(text, flag)))?;
    let text = arguments[at].to_str()?;
    let behind = text[flag.len()..].trim_start_matches('=');
    if !behind.is_empty() {
        return Some(behind.to_owned());
    }
    let next = arguments.get(at + 1).and_then(|next| next.to_str())?;
    (!next.is_empty() && !next.starts_with('-')).then(|| next.to_owned())
}

/// Reports whether an argument is `--flag`, `--flag=value`, `-f` or `-fvalue`.
fn is_given(argument: &str, flag: &str) -> bool {
    argument
        .strip_prefix(flag)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('=') || !flag.starts_with("--"))
}

/// Returns the advice for an unknown command.
fn of_command(command: &str) -> Option<String> {
    let known = COMMANDS.iter().find(|(names, _)| names.contains(&command));
    if let Some((_, advice)) = known {
        return Some((*advice).to_owned());
    }
    let path = Path::new(command);
    let extension = path.extension().and_then(OsStr::to_str);
    if matches!(extension, Some("wasm" | "wat")) {
        return Some(format!(
            "did you mean `wasgi run {command}`, or `wasgi check {command}`?"
        ));
    }
    let is_folder = command.contains('/') || command == "." || path.is_dir();
    is_folder.then(|| format!("did you mean `wasgi serve {command}`?"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::Cli;

    /// Returns the error for an invalid command line.
    fn said(line: &str) -> String {
        let arguments: Vec<_> = line.split(' ').map(Into::into).collect();
        let error = Cli::try_parse_from(&arguments).expect_err(line);
        super::explain(error, &arguments).to_string()
    }

    #[test]
    fn a_flag_of_another_server_is_rejected_with_the_equivalent_flag() {
        for (line, advice) in [
            (
                "wasgi serve --port 8000",
                "tip: did you mean `--addr 127.0.0.1:8000`?",
            ),
            (
                "wasgi serve --port=80",
                "did you mean `--addr 127.0.0.1:80`?",
            ),
            ("wasgi serve -p80", "did you mean `--addr 127.0.0.1:80`?"),
            (
                "wasgi serve --port",
                "did you mean `--addr 127.0.0.1:8000`?",
            ),
            ("wasgi serve . -p 80", "did you mean `--addr 127.0.0.1:80`?"),
            ("wasgi serve --port --threads=1", "`--addr 127.0.0.1:8000`?"),
            (
                "wasgi serve --host 0.0.0.0",
                "did you mean `--addr 0.0.0.0:8000`?",
            ),
            (
                "wasgi serve --bind 0.0.0.0:80",
                "did you mean `--addr 0.0.0.0:80`?",
            ),
            (
                "wasgi serve --port 0.0.0.0:80",
                "did you mean `--addr 0.0.0.0:80`?",
            ),
            ("wasgi serve --workers 4", "did you mean `--processes 4`?"),
            (
                "wasgi serve --cert a.pem",
                "did you mean `--tls-cert a.pem`?",
            ),
            ("wasgi serve --site here", "`wasgi serve here`"),
            ("wasgi config --docroot www", "did you mean `--root www`?"),
            ("wasgi serve --reload", "files are always reloaded"),
            ("wasgi serve --adr :80", "'--addr'"),
        ] {
            let said = said(line);
            assert!(said.contains(advice), "{line}: {said}");
            assert!(!said.contains("as a value"), "{line}: {said}");
        }
        assert!(!said("wasgi serve --wings").contains("tip"));
    }

    #[test]
    fn an_unknown_command_is_rejected_with_the_intended_one() {
        for (line, advice) in [
            ("wasgi start", "did you mean `wasgi serve`?"),
            ("wasgi .", "did you mean `wasgi serve .`?"),
            ("wasgi ./site", "did you mean `wasgi serve ./site`?"),
            ("wasgi hello.wasm", "did you mean `wasgi run hello.wasm`"),
            ("wasgi componentize", "did you mean `wasgi build`?"),
            ("wasgi serv", "'serve'"),
        ] {
            let said = said(line);
            assert!(said.contains(advice), "{line}: {said}");
        }
    }
}
