//! The recipes of `docs/databases.md`, with the page's own files: Flask with SQLite, Django with
//! SQLite and with PostgreSQL and its admin, and SQLAlchemy with PostgreSQL.
//!
//! Packages come from an index by `wasgi deps`. Without one, or without the runtime or PostgreSQL,
//! each test prints a line and does nothing.

use std::fs;
use std::path::{Path, PathBuf};

use crate::outbound::postgres::Postgres;
use crate::support::client::Client;
use crate::support::command::{code_cache, wasgi};
use crate::support::process::{Ended, Process};
use crate::support::response::Response;
use crate::support::scripts::Language::Python;
use crate::support::scripts::compile;
use crate::support::server::Server;
use crate::support::site::Site;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Returns the block of the page that contains a text.
#[track_caller]
fn block(text: &str) -> String {
    let page = fs::read_to_string(root().join("docs/databases.md")).expect("the page");
    let mut blocks = page.split("```").skip(1).step_by(2);
    let block = blocks.find(|block| block.contains(text));
    let (_, content) = block
        .and_then(|block| block.split_once('\n'))
        .expect("a block of the page");
    content.to_owned()
}

fn write(site: &Site, file: &str, text: &str) {
    let file = site.path().join(file);
    fs::create_dir_all(file.parent().expect("a folder")).expect("created");
    fs::write(file, text).expect("written");
}

/// Runs a command in a site.
fn run_in(site: &Site, arguments: &[&str]) -> Ended {
    let mut command = wasgi(arguments);
    command.arg("--site").arg(site.path());
    command.arg("--code-cache").arg(code_cache());
    Process::start(&mut command).wait()
}

/// Creates a site with an application and its packages, if they can be installed.
fn site_with(name: &str, requirements: &str, files: &[(&str, &str)]) -> Option<Site> {
    if !Python.has_runtime() {
        return None;
    }
    let site = Site::new();
    for folder in ["data", "secrets", "html/static"] {
        fs::create_dir_all(site.path().join(folder)).expect("created");
    }
    for (file, text) in files {
        write(&site, &format!("handlers/{name}/{file}"), text);
    }
    write(
        &site,
        &format!("handlers/{name}/requirements.txt"),
        requirements,
    );
    if !run_in(&site, &["deps", name]).status.success() {
        eprintln!(
            "SKIPPED: packages can't be installed; `wasgi deps` needs pip or uv, and an index"
        );
        return None;
    }
    Some(site)
}

/// Sends a form with cookies, and returns the response.
#[track_caller]
fn submit(client: &mut Client, target: &str, cookies: &str, form: &str) -> Response {
    client.send(format!(
        "POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookies}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    ));
    client.response_to("POST")
}

/// Requests a page with cookies.
#[track_caller]
fn page(client: &mut Client, target: &str, cookies: &str) -> String {
    client.send(format!(
        "GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookies}\r\n\r\n"
    ));
    let response = client.response_to("GET");
    assert_eq!(response.status(), 200, "{target}: {}", response.text());
    response.text().to_owned()
}

#[test]
fn a_guest_book_in_flask_keeps_its_entries_in_sqlite() {
    let app = block("render_template_string");
    let Some(site) = site_with("book", "flask\n", &[("app.py", &app)]) else {
        return;
    };
    write(&site, "wasgi.toml", &block("[handlers.book]"));
    compile(&site);
    for (name, count) in [("Ada", 1), ("%3Cb%3E", 2)] {
        // Each round has a server of its own: the entries outlive it.
        let server = Server::new(&site);
        let mut client = server.connect();
        let sent = submit(&mut client, "/book/", "", &format!("name={name}"));
        assert_eq!(
            (sent.status(), sent.field("Location")),
            (303, Some("/book/"))
        );
        let text = page(&mut client, "/book/", "");
        assert_eq!(text.matches("<li>").count(), count, "{text}");
        server.stop();
    }
    let server = Server::new(&site);
    assert!(
        server
            .get("/book/")
            .text()
            .contains("<li>Ada</li><li>&lt;b&gt;</li>")
    );
    server.stop();
}

/// Returns the demo project with the settings of the page and its two applications.
fn django(database: &str) -> Vec<(String, String)> {
    let demo = root().join("handlers/_python/django");
    let read = |file: &str| fs::read_to_string(demo.join(file)).expect(file);
    let mut files: Vec<(String, String)> = [
        "manage.py",
        "urls.py",
        "pages/__init__.py",
        "pages/admin.py",
        "pages/forms.py",
        "pages/hashers.py",
        "pages/models.py",
        "pages/views.py",
        "pages/migrations/__init__.py",
        "pages/migrations/0001_initial.py",
    ]
    .map(|file| (file.to_owned(), read(file)))
    .into();
    let files_app = "INSTALLED_APPS.append(\"django.contrib.staticfiles\")\n";
    let settings = read("settings.py") + files_app + &block("STATIC_ROOT =") + database;
    let wsgi = block("def manage").replace("mysite.settings", "settings");
    let project = "[tool.wsgi]\napplication = \"wsgi:application\"\n";
    files.push(("settings.py".into(), settings));
    files.push(("wsgi.py".into(), wsgi));
    files.push(("pyproject.toml".into(), project.into()));
    files
}

/// Migrates a database, creates a user, and collects the static files: each by `wasgi run`.
#[track_caller]
fn set_up(site: &Site) {
    let config = site.path().join("manage.toml");
    let config = config.to_str().expect("text");
    for (command, expected) in [
        ("migrate", "Applying pages.0001_initial... OK"),
        (
            "createsuperuser --noinput --username ada --email a@example.com",
            "Superuser created",
        ),
        ("collectstatic --noinput", "static files copied"),
    ] {
        let ran = run_in(site, &["run", "mysite", "--config", config, "-d", command]);
        let said = ran.everything();
        assert!(ran.status.success() && said.contains(expected), "{said}");
    }
}

/// Returns the value of a cookie that a response sets.
#[track_caller]
fn cookie(response: &Response, name: &str) -> String {
    let set = response.head.all("Set-Cookie");
    let found = set
        .iter()
        .find_map(|cookie| cookie.trim().strip_prefix(name));
    let value = found.and_then(|rest| rest.strip_prefix('=')?.split(';').next());
    value.expect(name).to_owned()
}

/// Adds an object in the admin, lists it, edits it, and finds it in a new server.
#[track_caller]
fn use_admin(site: &Site) {
    compile(site);
    let server = Server::new(site);
    let mut client = server.connect();
    assert!(
        server
            .get("/static/admin/css/base.css")
            .text()
            .contains("--primary")
    );
    let login = client.get("/mysite/admin/login/");
    assert_eq!(login.status(), 400, "the host is not allowed");
    client.send("GET /mysite/admin/login/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    let token = cookie(&client.response_to("GET"), "csrftoken");
    let form = format!("csrfmiddlewaretoken={token}&username=ada&password=change+me");
    let entered = submit(
        &mut client,
        "/mysite/admin/login/?next=/mysite/admin/",
        &format!("csrftoken={token}"),
        &form,
    );
    assert_eq!(entered.status(), 302, "{}", entered.text());
    let token = cookie(&entered, "csrftoken");
    let cookies = format!(
        "csrftoken={token}; sessionid={}",
        cookie(&entered, "sessionid")
    );
    let list = "/mysite/admin/pages/note/";
    for (target, text) in [("add/", "Buy tea"), ("1/change/", "Drink tea")] {
        let form = format!(
            "csrfmiddlewaretoken={token}&text={}&_save=Save",
            text.replace(' ', "+")
        );
        let saved = submit(&mut client, &format!("{list}{target}"), &cookies, &form);
        assert_eq!(saved.status(), 302, "{}", saved.text());
        let listed = page(&mut client, list, &cookies);
        assert!(listed.contains(&format!(">{text}</a>")), "{listed}");
    }
    server.stop();
    let server = Server::new(site);
    let listed = page(&mut server.connect(), list, &cookies);
    assert!(listed.contains(">Drink tea</a>"), "{listed}");
    assert!(listed.contains("1 note"), "{listed}");
    server.stop();
}

fn django_site(requirements: &str, database: &str) -> Option<Site> {
    let files = django(database);
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(file, text)| (file.as_str(), text.as_str()))
        .collect();
    let site = site_with("mysite", requirements, &files)?;
    write(&site, "secrets/key", &"k3y".repeat(20));
    Some(site)
}

#[test]
fn django_keeps_what_its_admin_changes_in_sqlite() {
    let Some(site) = django_site("django\n", "") else {
        return;
    };
    write(&site, "wasgi.toml", &block("# The server"));
    write(&site, "manage.toml", &block("MANAGE = "));
    set_up(&site);
    use_admin(&site);
}

#[test]
fn django_keeps_what_its_admin_changes_in_postgresql_by_a_driver_in_python() {
    let database = block("django_pg8000");
    let Some(site) = django_site("django\ndjango-pg8000\n", &database) else {
        return;
    };
    let Some(postgres) = Postgres::start() else {
        eprintln!("SKIPPED: there is no PostgreSQL; `apt-get install postgresql` installs it");
        return;
    };
    let port = postgres.port;
    let variables = format!(
        "DATABASE_HOST = \"localhost\", DATABASE_PORT = \"{port}\", DATABASE_PASSWORD = \"secret\""
    );
    let hosts = format!("allowed-outbound-hosts = [\"tcp://localhost:{port}\"]\n");
    let served = block("# The server");
    write(
        &site,
        "wasgi.toml",
        &format!("{served}environment = {{ {variables} }}\n{hosts}"),
    );
    let manage = block("MANAGE = ").replace("MANAGE = ", &format!("{variables}, MANAGE = "));
    write(&site, "manage.toml", &format!("{manage}{hosts}"));
    set_up(&site);
    use_admin(&site);
}

#[test]
fn sqlalchemy_uses_postgresql_by_a_driver_in_python() {
    let app = block("create_engine");
    let Some(site) = site_with("notes", "sqlalchemy\npg8000\n", &[("app.py", &app)]) else {
        return;
    };
    let Some(postgres) = Postgres::start() else {
        eprintln!("SKIPPED: there is no PostgreSQL; `apt-get install postgresql` installs it");
        return;
    };
    let port = postgres.port;
    let url = format!("postgresql+pg8000://app:secret@localhost:{port}/postgres");
    write(&site, "secrets/database", &url);
    let settings =
        block("[handlers.notes]").replace("db.internal:5432", &format!("localhost:{port}"));
    write(&site, "wasgi.toml", &settings);
    compile(&site);
    let server = Server::new(&site);
    let mut client = server.connect();
    for (note, all) in [("tea", "tea\n"), ("milk", "tea\nmilk\n")] {
        let kept = submit(&mut client, "/notes", "", note);
        assert_eq!((kept.status(), kept.text()), (200, all));
    }
    server.stop();
}
