//! `wasgi build`: portable `.wasm` files from scripts, served by a site without their sources and
//! without runtimes.
//!
//! `cargo xtask test` builds the runtimes. If it can't, each test prints a line and does
//! nothing.

use std::fs;
use std::path::Path;

use crate::support::command::{code_cache, wasgi};
use crate::support::process::{Ended, Process};
use crate::support::scripts::Language::{JavaScript, Python};
use crate::support::scripts::{percent_encoded, until, until_status};
use crate::support::server::Server;
use crate::support::site::Site;
use crate::support::tls::Certificate;
use crate::support::upstream::Upstream;

/// Builds a handler of a site, in an environment without variables, and so without other programs.
fn build(site: &Site, arguments: &[&str]) -> Ended {
    let mut command = wasgi(["build"]);
    command.args(arguments).arg("--code-cache");
    command.arg(code_cache()).current_dir(site.path());
    // It finds the runtimes beside the program.
    Process::start(command.env_clear()).wait()
}

/// Returns a site without runtimes.
fn bare_site(settings: &str) -> Site {
    let site = Site::new();
    let settings = format!("[site]\nruntime = \"none\"\n{settings}");
    fs::write(site.path().join("wasgi.toml"), settings).expect("written");
    site
}

/// An application that reads a template, a module, a package and the library during a request.
const SHOP: &str = "import os
import package
HERE = os.path.dirname(__file__)
def app(environ, start_response):
    import colorsys, late
    start_response('200 OK', [('Content-Type', 'text/plain')])
    page = open(os.path.join(HERE, 'templates', 'page.txt')).read()
    names = sorted(os.listdir('templates'))
    try:
        open(os.path.join(HERE, 'new'), 'w')
        denied = False
    except OSError:
        denied = True
    route = environ['SCRIPT_NAME']
    return [f'{route} {page} {names} {late.text} {package.text()} {os.getcwd()} {denied}'.encode()]
";

#[test]
fn a_built_script_answers_as_its_sources_do_on_a_site_without_them() {
    let files = [
        (
            "hello.py",
            "def app(environ, start_response):\n    import colorsys\n    start_response('200 OK', [])\n    return [colorsys.__name__.encode()]\n",
        ),
        ("shop/app.py", SHOP),
        ("shop/late.py", "text = 'late'\n"),
        ("shop/templates/page.txt", "a page"),
        ("shop/pyproject.toml", "[tool.wasgi]\nwarm = [\"/\"]\n"),
        (
            "shop/.packages/package/__init__.py",
            "def text():\n    from package import inner\n    return inner.TEXT\n",
        ),
        ("shop/.packages/package/inner.py", "TEXT = 'inner'\n"),
        (
            "dice.js",
            "export default { fetch(request) { return new Response('js ' + new URL(request.url).pathname); } };\n",
        ),
        ("site/package.json", "{}"),
        (
            "site/index.js",
            "import first from './first.js';\nexport default { async fetch() {\n  const late = await import('./parts/late.js');\n  return new Response(first + late.default);\n} };\n",
        ),
        ("site/first.js", "export default 'first ';\n"),
        (
            "site/parts/late.js",
            "import data from 'data';\nexport default 'late ' + data.name;\n",
        ),
        (
            "site/node_modules/data/package.json",
            "{\"main\": \"data.json\"}",
        ),
        ("site/node_modules/data/data.json", "{\"name\": \"data\"}"),
    ];
    let (Some(site), true) = (Python.site(&files, ""), JavaScript.has_runtime()) else {
        return;
    };
    let other = bare_site("");
    let sources = Server::new(&site);
    let names = ["hello", "shop", "dice", "site"];
    for name in names {
        let output = other.path().join("handlers").join(format!("{name}.wasm"));
        let output = output.to_str().expect("a name");
        // One of each language without `--release`.
        let release: &[&str] = match name {
            "shop" | "dice" => &["--release"],
            _ => &[],
        };
        let ended = build(&site, &[&[name, "-o", output], release].concat());
        let told = ended.everything();
        assert!(ended.status.success(), "{name}: {told}");
        assert!(told.contains(&format!("{name}.wasm: ")), "{told}");
        assert_eq!(told.contains("--release"), release.is_empty(), "{told}");
    }
    let built = Server::new(&other);
    for path in ["/hello", "/shop", "/dice/a?b", "/site"] {
        let expected = sources.get(path);
        assert_eq!(expected.status(), 200, "{path}: {}", expected.text());
        until(&built, path, expected.text());
        // Each request has a fresh instance.
        assert_eq!(built.get(path).text(), expected.text(), "{path}");
    }
    sources.stop();
    let told = built.stop().everything();
    assert!(!told.contains("asked for files"), "{told}");
}

#[test]
fn a_built_script_has_the_variables_of_the_site_that_serves_it_and_none_of_the_build() {
    let script = "import os\nBEFORE = os.environ.get('TOKEN')\n\
                  def app(environ, start_response):\n    start_response('200 OK', [])\n    \
                  return [f\"{BEFORE} {os.environ.get('TOKEN')}\".encode()]\n";
    let granted = "[handlers.shop]\nenvironment = { TOKEN = \"of-the-build\" }\n";
    let needs = "import os\nTOKEN = os.environ['TOKEN']\n";
    let Some(site) = Python.site(&[("shop.py", script), ("needs.py", needs)], granted) else {
        return;
    };
    let other = bare_site("[handlers.shop]\nenvironment = { TOKEN = \"of-the-site\" }\n");
    let output = other.path().join("handlers/shop.wasm");
    let ended = build(&site, &["shop", "-o", output.to_str().expect("a name")]);
    assert!(ended.status.success(), "{}", ended.everything());
    let content = fs::read(&output).expect("it is there");
    let has = |text: &[u8]| content.windows(text.len()).any(|part| part == text);
    assert!(has(b"BEFORE") && !has(b"of-the-build"));
    let server = Server::new(&other);
    until(&server, "/shop", "None of-the-site");
    server.stop();
    let told = build(&site, &["needs"]).everything();
    assert!(
        told.contains("needs.py: not built: KeyError: 'TOKEN'"),
        "{told}"
    );
    assert!(
        told.contains("a build has no environment variables"),
        "{told}"
    );
}

/// A script that counts in a bucket, and returns what the address in its query answers.
const COUNTS: &str = "import { open } from 'wasgi:kv';
const bucket = open('default');
export default {
  async fetch(request) {
    const answer = await fetch(decodeURIComponent(new URL(request.url).search.slice(1)));
    return new Response(`${await bucket.increment('n', 1)} ${await answer.text()}`);
  },
};
";

#[test]
fn a_built_script_has_the_buckets_and_the_hosts_that_the_site_grants() {
    let python = include_str!("../python/granted.py");
    let files = [("granted.py", python), ("counts.js", COUNTS)];
    let (Some(site), true) = (Python.site(&files, ""), JavaScript.has_runtime()) else {
        return;
    };
    let certificate = Certificate::make(site.path());
    let upstream = Upstream::with_tls(&certificate);
    let url = format!("https://localhost:{}/hello", upstream.port());
    let host = url.trim_end_matches("/hello");
    let other = bare_site(&format!(
        "[handlers.\"*\"]\nkey-value = [\"default\"]\nallowed-outbound-hosts = [\"{host}\"]\n"
    ));
    for name in ["granted", "counts"] {
        let output = other.path().join("handlers").join(format!("{name}.wasm"));
        let ended = build(&site, &[name, "-o", output.to_str().expect("a name")]);
        assert!(ended.status.success(), "{name}: {}", ended.everything());
    }
    let mut command = wasgi(["serve", "--addr", "127.0.0.1:0", "--code-cache"]);
    command.arg(code_cache()).arg(other.path());
    command.env("SSL_CERT_FILE", &certificate.cert);
    let server = Server::started(Process::start(&mut command));
    let expression = format!("BUCKET.increment('n', 1), get('{url}')");
    for count in 1..=2 {
        let granted = format!("/granted?{}", percent_encoded(&expression));
        until(&server, &granted, &format!("({count}, 'hello')"));
        let counts = format!("/counts?{}", percent_encoded(&url));
        until(&server, &counts, &format!("{count} hello"));
    }
}

#[test]
fn what_cannot_be_built_fails_with_one_line_and_writes_nothing() {
    let large = "x".repeat(9 << 20);
    let files = [
        ("fails.py", "1 / 0\n"),
        ("syntax.py", "app = (\n"),
        ("plain.js", "export default 1;\n"),
        ("large/app.py", "def app(environ, start_response): pass\n"),
        ("large/data.bin", &large),
        (
            "warm/app.py",
            "def app(environ, start_response):\n    1 / 0\n",
        ),
        ("warm/pyproject.toml", "[tool.wasgi]\nwarm = [\"/\"]\n"),
    ];
    let (Some(site), true) = (Python.site(&files, ""), JavaScript.has_runtime()) else {
        return;
    };
    site.write_handler("page.wat", "(component)");
    for (arguments, expected) in [
        (
            &["fails"][..],
            "fails.py: not built: ZeroDivisionError: division by zero (fails.py:1)",
        ),
        (&["syntax"], "syntax.py: not built: SyntaxError"),
        (&["plain"], "plain.js: not built: "),
        (&["large"], "large: not built: data.bin has more than 8 MiB"),
        (&["warm"], "warm: not built: warm path /: ZeroDivisionError"),
        (&["page"], "page.wat: is not source code"),
        (&["nothing"], "there is no handler nothing"),
        (
            &["fails", "-o", "no/such/folder.wasm"],
            "there is no folder no/such",
        ),
        (&["fails", "-o", "html"], "can't write html: it is a folder"),
    ] {
        let ended = build(&site, arguments);
        let lines = ended.stderr.join("\n");
        assert_eq!(ended.status.code(), Some(1), "{arguments:?}: {lines}");
        assert!(lines.contains(expected), "{arguments:?}: {lines}");
        assert_eq!(lines.lines().count(), 1, "{arguments:?}: {lines}");
    }
    let bare = bare_site("");
    bare.write_handler("plain.js", "export default { fetch() {} };\n");
    let told = build(&bare, &["plain"]).everything();
    let missing = "plain.js: not built: the runtime for JavaScript can't be read";
    assert!(told.contains(missing), "{told}");
    let left = fs::read_dir(site.path()).expect("a folder").flatten();
    let left =
        left.filter(|entry| Path::new(&entry.file_name()).extension() == Some("wasm".as_ref()));
    assert_eq!(left.count(), 0);
}

/// Why tests of the Python SDK can't run in the sandbox, and the fronts of their names.
const NOT_IN_THE_SANDBOX: [(&str, &[&str]); 5] = [
    (
        "they start componentize-py",
        &["test_build.", "test_target.Builds."],
    ),
    (
        "they make links or virtual environments",
        &[
            "test_files.Gathered.test_a_link_",
            "test_own_sources.OwnModules.test_a_link_",
            "test_sources.Packages.test_an_application_with_a_link_",
            "test_sources.Packages.test_linked_",
            "test_sources.Packages.test_pth_files_",
            "test_sources.Packages.test_the_interpreter_",
            "test_sources.Packages.test_those_of_an_environment_",
            "test_sources.Packages.test_what_is_linked_",
        ],
    ),
    (
        "they replace the functions that the sandbox has already replaced",
        &["test_files.Kept.", "test_files.Written."],
    ),
    (
        "they expect that the SDK is not in the application's folder",
        &[
            "test_script.Folders.test_a_package_with_compiled_code_",
            "test_script.Folders.test_what_is_not_installed_",
        ],
    ),
    (
        "it reads the whole repository",
        &["test_definitions.Definitions.test_no_name_is_defined_twice_"],
    ),
];

/// The module that imports `venv`, which built handlers leave out.
const NOT_BUILT: &str = "test_sources";

/// Those whose programs change the interpreter, and need an instance each.
const NEED_AN_INSTANCE: [&str; 3] = ["test_asgi", "test_layer", "test_script"];

#[test]
fn the_suite_of_the_python_sdk_passes_in_the_sandbox_as_a_script_and_built() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &Path| fs::read_to_string(path).expect("a file of the repository");
    let app = read(&root.join("tests/python/suite.py"));
    let settings = "[handlers.suite]\ncpu-time = \"60s\"\nwall-time = \"170s\"\n\
                    memory = \"256MiB\"\n\n[compile]\nimport-time = \"10m\"\n";
    let Some(site) = Python.site(&[("suite/app.py", &app)], settings) else {
        return;
    };
    let mut modules = Vec::new();
    for folder in ["tests", "src/wasgi", "src/wasgi/guest", "src/wasgi/kv"] {
        let from = root.join("guest-sdk/python").join(folder);
        for entry in fs::read_dir(from).expect("a folder of the repository") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|extension| extension == "py") {
                let name = path.file_name().expect("a name").to_string_lossy();
                site.write_handler(&format!("suite/{folder}/{name}"), read(&path));
                let module = name.trim_end_matches(".py");
                modules.extend(module.starts_with("test_").then(|| module.to_owned()));
            }
        }
    }
    let other = bare_site(settings);
    let output = other.path().join("handlers/suite.wasm");
    let ended = build(&site, &["suite", "-o", output.to_str().expect("a name")]);
    assert!(ended.status.success(), "{}", ended.everything());
    for (site, is_built) in [(&site, false), (&other, true)] {
        let server = Server::new(site);
        until_status(&server, "/suite/test_settings", 200);
        let can_run = |module: &&String| !is_built || *module != NOT_BUILT;
        for module in modules.iter().filter(can_run) {
            expect_tests_to_pass(&server, module);
        }
        server.stop();
    }
}

/// Runs the tests of a module in the sandbox.
fn expect_tests_to_pass(server: &Server, module: &str) {
    let names = server.get(&format!("/suite/names/{module}"));
    assert_eq!(names.status(), 200, "{module}: {}", names.text());
    let names = names.text().lines();
    let can_run = |name: &&str| {
        let mut fronts = NOT_IN_THE_SANDBOX.iter().flat_map(|(_, fronts)| *fronts);
        !fronts.any(|front| name.starts_with(front))
    };
    let names: Vec<&str> = names.filter(can_run).collect();
    let requests = match NEED_AN_INSTANCE.contains(&module) {
        true => names.chunks(1),
        false => names.chunks(names.len().max(1)),
    };
    for names in requests {
        let response = server.get(&format!("/suite/{}", names.join(",")));
        let text = response.text();
        assert_eq!(response.status(), 200, "{names:?}: {text}");
        let ran = format!("Ran {} test", names.len());
        assert!(text.contains(&ran), "{names:?}: {ran}: {text}");
        assert!(!text.contains("skipped"), "{names:?}: {text}");
    }
}
