//! Large applications, and a machine without Python.

use crate::support::command::{code_cache, wasgi};
use crate::support::process::Process;
use crate::support::scripts::Language::Python;
use crate::support::scripts::{compile, until};
use crate::support::server::Server;

#[test]
fn an_application_of_two_hundred_modules_and_ten_mebibytes_of_templates_answers() {
    const MODULES: usize = 200;
    const TEMPLATES: usize = 20;
    const TEMPLATE_BYTES: usize = 512 << 10;
    let app = format!(
        "import importlib, os
PARTS = [importlib.import_module(f'parts.m{{number}}') for number in range({MODULES})]
def app(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    values = sum(part.VALUE for part in PARTS)
    sizes = sum(len(open(f'templates/{{name}}').read()) for name in os.listdir('templates'))
    return [f'{{values}} {{sizes}}'.encode()]
"
    );
    let mut files = vec![("shop/app.py".to_owned(), app)];
    for number in 0..MODULES {
        let name = format!("shop/parts/m{number}.py");
        files.push((name, format!("VALUE = {number}\n")));
    }
    for number in 0..TEMPLATES {
        let name = format!("shop/templates/t{number}.html");
        files.push((name, "x".repeat(TEMPLATE_BYTES)));
    }
    let files: Vec<_> = files
        .iter()
        .map(|(name, text)| (&**name, &**text))
        .collect();
    let Some((_site, server)) = Python.serve(&files, "") else {
        return;
    };
    let values = MODULES * (MODULES - 1) / 2;
    let sizes = TEMPLATES * TEMPLATE_BYTES;
    until(&server, "/shop", &format!("{values} {sizes}"));
    server.stop();
}

#[test]
fn a_machine_needs_no_python_and_no_other_program() {
    let script = "import json, sqlite3
def app(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [json.dumps(sqlite3.connect(':memory:').execute('select 42').fetchone()).encode()]
";
    let Some(site) = Python.site(&[("alone/app.py", script)], "") else {
        return;
    };
    let mut command = wasgi(["serve", "--addr", "127.0.0.1:0", "--code-cache"]);
    command.arg(code_cache()).arg(site.path()).env_clear();
    let server = Server::started(Process::start(&mut command));
    until(&server, "/alone", "[42]");
    server.stop();
}

#[test]
fn a_further_script_adds_little_resident_memory() {
    // A processor keeps the images of ten scripts mapped: 8 MiB each. A script's file has 3 MiB.
    const FIRST: usize = 11;
    const SCRIPTS: usize = 16;
    const MAX_EACH_BYTES: u64 = 6 << 20;
    let script = |name: &str| {
        format!(
            "def app(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'{name}']
"
        )
    };
    let names: Vec<_> = (0..SCRIPTS).map(|number| format!("h{number}")).collect();
    let files = names.iter();
    let files: Vec<_> = files
        .map(|name| (format!("{name}.py"), script(name)))
        .collect();
    let files: Vec<_> = files
        .iter()
        .map(|(name, text)| (&**name, &**text))
        .collect();
    let Some(site) = Python.site(&files, "") else {
        return;
    };
    // Loads them first: an entry that has just been written is mapped a second time.
    compile(&site);
    let server = Server::with(&site, &["--threads", "1"]);
    let request = |names: &[String]| {
        for name in names {
            assert_eq!(server.get(&format!("/{name}")).text(), *name);
        }
        server.resident_bytes()
    };
    let first = request(&names[..FIRST]);
    let all = request(&names);
    let each = all.saturating_sub(first) / (SCRIPTS - FIRST) as u64;
    assert!(each < MAX_EACH_BYTES, "{each} bytes");
    server.stop();
}
