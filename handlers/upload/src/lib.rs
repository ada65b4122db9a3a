//! Keeps files in a folder that `wasgi.toml` grants: `PUT /upload/NAME` stores one, `GET` sends it,
//! `DELETE` deletes it, and `GET /upload` lists them.
//!
//! ```toml
//! [handlers.upload]
//! files = [{ source = "data/upload", destination = "/files", writable = true }]
//! ```

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use wasgi_sdk::http::header::{ALLOW, CONTENT_DISPOSITION, CONTENT_TYPE};
use wasgi_sdk::http::{Method, Response, StatusCode};
use wasgi_sdk::{Body, Request, RequestExt, Result, escape};

/// The folder's path in the sandbox.
const FOLDER: &str = "/files";

/// The maximum size of a file, in bytes, and the maximum number of files.
const MAX_BYTES: u64 = 1 << 20;
const MAX_FILES_COUNT: usize = 20;

#[wasgi_sdk::handler]
fn upload(request: Request) -> Result<Response<Body>> {
    serve(Path::new(FOLDER), request)
}

fn serve(folder: &Path, mut request: Request) -> Result<Response<Body>> {
    let path = request.environ().path_info();
    let name = path.trim_matches('/');
    if !folder.is_dir() {
        return text(503, "No folder is granted to this handler.\n");
    }
    if name.is_empty() {
        return list(folder);
    }
    if !is_good(name) {
        return text(404, "A name has letters, digits, '-', '_' and '.'.\n");
    }
    let file = folder.join(name);
    match *request.method() {
        Method::PUT => store(folder, &file, request.body_mut()),
        Method::GET | Method::HEAD => send(&file),
        Method::DELETE if fs::remove_file(&file).is_ok() => text(200, "Deleted.\n"),
        Method::DELETE => text(404, "There is no such file.\n"),
        _ => {
            let mut refusal = text(405, "")?;
            let allowed = "GET, HEAD, PUT, DELETE".parse()?;
            refusal.headers_mut().insert(ALLOW, allowed);
            Ok(refusal)
        }
    }
}

/// Stores a body as it arrives. No other request uses the folder meanwhile, because a writable
/// folder is exclusive.
fn store(folder: &Path, file: &Path, body: &mut impl Read) -> Result<Response<Body>> {
    if !file.exists() && fs::read_dir(folder)?.count() >= MAX_FILES_COUNT {
        return text(507, "There are too many files.\n");
    }
    // A file is replaced as a whole. This name is hidden, and can't be uploaded.
    let part = folder.join(".part");
    let size = io::copy(&mut body.take(MAX_BYTES + 1), &mut File::create(&part)?)?;
    if size > MAX_BYTES {
        fs::remove_file(part)?;
        return text(413, "The file is too large.\n");
    }
    fs::rename(part, file)?;
    text(201, "Stored.\n")
}

/// Sends a file as a download, because a browser shouldn't run a stranger's page here.
fn send(file: &Path) -> Result<Response<Body>> {
    let Ok(content) = fs::read(file) else {
        return text(404, "There is no such file.\n");
    };
    Ok(Response::builder()
        .header(CONTENT_TYPE, "application/octet-stream")
        .header(CONTENT_DISPOSITION, "attachment")
        .body(Body::from(content))?)
}

/// Returns whether a file may have this name: it is no path, and not hidden.
fn is_good(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    name.len() <= 100 && !name.starts_with('.') && name.chars().all(is_plain)
}

/// Returns the page, whose script sends a file as the body of a `PUT`.
fn list(folder: &Path) -> Result<Response<Body>> {
    let files =
        fs::read_dir(folder)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut files: Vec<String> = files.filter(|name| is_good(name)).collect();
    files.sort();
    let item = |name: &String| {
        let name = escape(name);
        format!("<li><a href=\"/upload/{name}\">{name}</a></li>\n")
    };
    let items: String = files.iter().map(item).collect();
    let page = include_str!("../../_page.html").replace("{title}", "upload");
    let body = include_str!("page.html").replace("{items}", &items);
    Ok(Response::builder()
        .header(CONTENT_TYPE, "text/html; charset=utf-8")
        .body(Body::from(page.replace("{body}", &body)))?)
}

fn text(status: u16, text: &'static str) -> Result<Response<Body>> {
    Ok(Response::builder()
        .status(StatusCode::from_u16(status)?)
        .header(CONTENT_TYPE, "text/plain; charset=utf-8")
        .body(Body::from(text))?)
}

#[cfg(test)]
mod tests {
    use wasgi_sdk::{Environ, testing};

    use super::*;

    /// Sends a request to a handler whose folder is a new one per thread, and so per test.
    fn call(method: &str, path: &str, body: &[u8]) -> testing::Response {
        let folder = std::env::temp_dir().join(format!(
            "wasgi-upload-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        fs::create_dir_all(&folder).expect("a folder");
        let environ = Environ::builder().path(path).mounted_at("/upload");
        let environ = environ.method(method).body(body).build();
        testing::call(move |request: Request| serve(&folder, request), environ)
    }

    #[test]
    fn a_file_is_stored_listed_sent_and_deleted() {
        assert_eq!(call("PUT", "/upload/a.txt", b"one").code(), 201);
        assert_eq!(call("PUT", "/upload/a.txt", b"two").code(), 201);
        assert!(call("GET", "/upload", b"").text().contains(">a.txt</a>"));
        let sent = call("GET", "/upload/a.txt", b"");
        assert_eq!(sent.text(), "two");
        assert_eq!(sent.header("content-disposition"), Some("attachment"));
        assert_eq!(call("DELETE", "/upload/a.txt", b"").code(), 200);
        assert_eq!(call("GET", "/upload/a.txt", b"").code(), 404);
        assert_eq!(call("POST", "/upload/a.txt", b"").code(), 405);
    }

    #[test]
    fn a_name_is_no_path_and_a_file_has_a_limit() {
        for name in ["..", ".part", "a/b", "%2e%2e%2fa", "a%00", "<b>"] {
            assert_eq!(
                call("PUT", &format!("/upload/{name}"), b"x").code(),
                404,
                "{name}"
            );
        }
        let large = vec![0; MAX_BYTES as usize + 1];
        assert_eq!(call("PUT", "/upload/large", &large).code(), 413);
        assert_eq!(call("PUT", "/upload/large", &large[1..]).code(), 201);
        for number in 1..MAX_FILES_COUNT {
            assert_eq!(call("PUT", &format!("/upload/{number}"), b"").code(), 201);
        }
        assert_eq!(call("PUT", "/upload/more", b"").code(), 507);
    }
}
