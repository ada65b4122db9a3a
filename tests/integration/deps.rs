//! `wasgi deps`: the packages of applications, with an installer that is a shell script.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::command::{code_cache, wasgi};
use crate::support::process::{Ended, Process};
use crate::support::scripts::Language;
use crate::support::site::Site;

/// An installer that finds its arguments `target` and `file`, and goes on as `rest` says.
fn installer(rest: &str) -> String {
    format!(
        "#!/bin/sh\nwhile [ $# -gt 0 ]; do case $1 in --target) target=$2;; -r) file=$2;; esac; \
         shift; done\n\
         package() {{ mkdir -p $target/$1 $target/$1-1.dist-info; \
         printf '%s/__init__.py,,\\n' $1 >$target/$1-1.dist-info/RECORD; \
         printf '%s\\n' \"$2\" >$target/$1/__init__.py; }}\n\
         compiled() {{ echo machine >$target/$1/$2.cpython-314-x86_64-linux-gnu.so; \
         echo $1/$2.cpython-314-x86_64-linux-gnu.so,, >>$target/$1-1.dist-info/RECORD; }}\n\
         {rest}\n"
    )
}

/// Runs `wasgi deps` on a site, with this installer as the only program called `python3`.
fn deps(site: &Site, installer: &str, arguments: &[&str]) -> Ended {
    let programs = tempfile::tempdir().expect("a folder");
    let program = programs.path().join("python3");
    fs::write(&program, installer).expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("set");
    let mut command = wasgi(["deps", "--site"]);
    command
        .arg(site.path())
        .arg("--code-cache")
        .arg(code_cache());
    command.args(arguments);
    command.env(
        "PATH",
        format!("{}:/usr/bin:/bin", programs.path().display()),
    );
    Process::start(&mut command).wait()
}

/// Returns the names in a folder of the handlers folder that start with a dot.
fn hidden(site: &Site, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(site.handlers().join(folder)).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = names
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| name.starts_with('.'))
        .collect();
    names.sort();
    names
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn the_packages_of_each_application_are_replaced_as_a_whole_or_not_at_all() {
    let site = Site::new();
    site.write_handler("shop/app.py", "import package\n");
    site.write_handler("shop/requirements.txt", "package==1  # the first\n");
    site.write_handler("api/blog/wsgi.py", "");
    site.write_handler(
        "api/blog/pyproject.toml",
        "[project]\ndependencies = [\"other>2\"]\n",
    );
    site.write_handler("plain/app.py", "");
    site.write_handler("hello.py", "");
    let package = site.handlers().join("shop/.packages/package/__init__.py");

    let ended = deps(&site, &installer("package package \"$(cat $file)\""), &[]);
    assert!(ended.status.success(), "{}", ended.everything());
    let lines = ended.stdout.join("\n");
    for line in ["shop: installed 1 package", "api/blog: installed 1 package"] {
        assert!(lines.contains(line), "{lines}");
    }
    assert!(lines.contains("plain: requires no packages"), "{lines}");
    assert_eq!(text(&package), "package==1\n");
    let other = site
        .handlers()
        .join("api/blog/.packages/package/__init__.py");
    assert_eq!(text(&other), "other>2\n");

    // Each failure keeps the packages, and leaves nothing else.
    for (rest, told) in [
        (
            "package broken; echo 'ERROR: No matching distribution found for package==1'; exit 1",
            "pip: No matching distribution found for package==1; only wheels are installed",
        ),
        ("exit 0", "pip has installed nothing"),
        (
            "package package; ln -s /etc/passwd $target/package/data",
            "package/data: neither a file nor a folder",
        ),
        (
            "mkdir $target; truncate -s 1G $target/data",
            "has more than 512 MiB of files",
        ),
    ] {
        let ended = deps(&site, &installer(rest), &["shop"]);
        assert_eq!(ended.status.code(), Some(1), "{}", ended.everything());
        let line = ended.refusal();
        let front = format!(
            "{}: not installed: ",
            site.handlers().join("shop").display()
        );
        assert!(line.starts_with(&front) && line.contains(told), "{line}");
        assert_eq!(text(&package), "package==1\n");
        assert_eq!(hidden(&site, "shop"), [".packages"]);
    }
    // In its folder, and with the new packages alone.
    let ended = deps(&site, &installer("package second two"), &["shop"]);
    assert!(ended.status.success(), "{}", ended.everything());
    assert!(!package.exists());
    assert_eq!(hidden(&site, "shop"), [".packages"]);
}

#[test]
fn what_cant_be_installed_is_one_line_before_anything_runs() {
    let site = Site::new();
    site.write_handler("hello.py", "");
    let never = "#!/bin/sh\ntouch ran\nexit 1\n";
    let ended = deps(&site, never, &[]);
    assert!(
        ended
            .refusal()
            .contains("there is no application in a folder")
    );
    site.write_handler("shop/app.py", "");
    for (line, told) in [
        ("-e .", "requirements.txt:2: \"-e .\" is not accepted"),
        ("git+https://example.org/x", "requirements.txt:2: "),
        (
            "-r ../other.txt",
            "requirements.txt:2: \"../other.txt\" is not in the application's",
        ),
    ] {
        site.write_handler("shop/requirements.txt", format!("flask\n{line}\n"));
        let ended = deps(&site, never, &["shop"]);
        assert_eq!(ended.status.code(), Some(1), "{}", ended.everything());
        assert!(ended.refusal().contains(told), "{}", ended.everything());
        assert!(hidden(&site, "shop").is_empty());
    }
    for (name, told) in [
        ("hello", "a handler in one file, which has no packages"),
        ("none", "there is no handler none"),
    ] {
        let ended = deps(&site, never, &[name]);
        assert!(ended.refusal().contains(told), "{}", ended.everything());
    }
    let mut command = wasgi(["deps", "--code-cache", "none", "--site"]);
    let ended = Process::start(command.arg(site.path()).env("PATH", "/nowhere")).wait();
    assert!(
        ended
            .refusal()
            .contains("there is no uv and no python3 on the path")
    );
}

#[test]
fn a_package_that_needs_its_compiled_code_is_named_and_another_works_without_it() {
    if !Language::Python.has_runtime() {
        return;
    }
    let site = Site::new();
    let app = "import optional\n\ndef app(environ, start_response):\n    \
               start_response('200 OK', [])\n    return [optional.text.encode()]\n";
    site.write_handler("shop/app.py", app);
    site.write_handler("shop/requirements.txt", "optional\n");
    let check = || {
        let mut command = wasgi(["run", "--body-only", "--code-cache"]);
        command
            .arg(code_cache())
            .arg("shop")
            .arg("--site")
            .arg(site.path());
        Process::start(&mut command).wait()
    };
    let told = check().everything();
    let missing = "there is no module optional (app.py:1); `wasgi deps` installs what \
                   requirements.txt names";
    assert!(told.contains(missing), "{told}");

    let optional = "package optional \"try:\n    from ._fast import text\nexcept ImportError:\n    \
                    text = 'slow'\"; compiled optional _fast";
    let ended = deps(&site, &installer(optional), &["shop"]);
    assert!(ended.status.success(), "{}", ended.everything());
    let file = "optional/_fast.cpython-314-x86_64-linux-gnu.so";
    let line = format!("installed 1 package; optional without its compiled code ({file})");
    assert!(ended.stdout[0].ends_with(&line), "{}", ended.everything());
    let compiled = site.handlers().join("shop/.packages").join(file);
    assert_eq!(text(&compiled), "", "it is left out");
    assert_eq!(check().stdout, ["slow"]);

    // Installed as well, since not each application imports each package.
    let needed = format!("{optional}; package core 'from . import _core'; compiled core _core");
    let ended = deps(&site, &installer(&needed), &["shop"]);
    let file = "core/_core.cpython-314-x86_64-linux-gnu.so";
    let line = format!(
        "core can't be imported, because its compiled code ({file}) can't run in the sandbox"
    );
    assert!(ended.status.success(), "{}", ended.everything());
    assert!(ended.stdout[0].ends_with(&line), "{}", ended.everything());
    assert_eq!(check().stdout, ["slow"]);
    site.write_handler(
        "shop/app.py",
        app.replace("import optional", "import optional, core"),
    );
    let told = check().everything();
    let line = format!("the package core contains compiled code ({file}), which can't run in the");
    assert!(told.contains(&line), "{told}");
}
