//! A guest book that keeps its entries, in the key-value bucket that `wasgi.toml` grants:
//!
//! ```toml
//! [handlers.guestbook]
//! key-value = ["default"]
//! ```

use wasgi_sdk::http::header::{ALLOW, LOCATION};
use wasgi_sdk::http::{Method, Response, StatusCode};
use wasgi_sdk::{Html, Request, RequestExt, Result, escape, kv};

/// The maximum number of entries on the page.
const SHOWN_COUNT: usize = 50;

/// The maximum length of a name and of a message, in characters.
const MAX_NAME_CHARS: usize = 60;
const MAX_MESSAGE_CHARS: usize = 1000;

#[wasgi_sdk::handler]
fn guestbook(mut request: Request) -> Result<Response<Html<String>>> {
    match *request.method() {
        Method::GET | Method::HEAD => show(StatusCode::OK, ""),
        Method::POST => {
            let form = request.form()?;
            let (name, message) = (form.get("name"), form.get("message"));
            let (name, message) = (name.unwrap_or("").trim(), message.unwrap_or("").trim());
            if name.is_empty() || message.is_empty() {
                return show(StatusCode::BAD_REQUEST, "Please fill in both fields.");
            }
            if name.chars().count() > MAX_NAME_CHARS || message.chars().count() > MAX_MESSAGE_CHARS
            {
                return show(StatusCode::BAD_REQUEST, "That is too long.");
            }
            add(name, message)?;
            // The browser gets the page with a new request: to reload it adds nothing.
            let target = request.environ().script_name();
            let response = Response::builder().status(StatusCode::SEE_OTHER);
            Ok(response
                .header(LOCATION, target)
                .body(Html(String::new()))?)
        }
        _ => Ok(Response::builder()
            .status(StatusCode::METHOD_NOT_ALLOWED)
            .header(ALLOW, "GET, HEAD, POST")
            .body(Html(String::new()))?),
    }
}

/// Adds an entry. Its number is unique, also if others are added at the same time.
fn add(name: &str, message: &str) -> Result<()> {
    let book = kv::open("default")?;
    let number = book.increment("count", 1)?;
    book.set(&key(number), format!("{name}\n{message}"))?;
    Ok(())
}

fn key(number: i64) -> String {
    format!("entry/{number}")
}

/// Returns the page with the latest entries first.
fn show(status: StatusCode, problem: &str) -> Result<Response<Html<String>>> {
    let book = kv::open("default")?;
    let count = book.get_text("count")?;
    let count: i64 = count.and_then(|count| count.parse().ok()).unwrap_or(0);
    let keys: Vec<String> = (1..=count).rev().take(SHOWN_COUNT).map(key).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let mut entries = String::new();
    for entry in book.get_many(&keys)?.into_iter().flatten() {
        let entry = String::from_utf8_lossy(&entry);
        let (name, message) = entry.split_once('\n').unwrap_or(("", &*entry));
        entries += &format!(
            "<li><strong>{}</strong><br>{}</li>\n",
            escape(name),
            escape(message).replace('\n', "<br>")
        );
    }
    let entries_word = if count == 1 { "entry" } else { "entries" };
    let body = format!(
        "<h1>Guest book</h1>\n\
         <p class=\"lead\">{count} {entries_word}, kept in a key-value bucket: they outlive requests and \
         restarts.</p>\n\
         <p role=\"alert\">{}</p>\n\
         <form method=\"post\">\n\
         <p><label>Name<br><input name=\"name\" maxlength=\"{MAX_NAME_CHARS}\" required></label></p>\n\
         <p><label>Message<br><textarea name=\"message\" rows=\"4\" \
         maxlength=\"{MAX_MESSAGE_CHARS}\" required></textarea></label></p>\n\
         <p><button>Sign</button></p>\n\
         </form>\n\
         <ol reversed start=\"{count}\">\n{entries}</ol>",
        escape(problem)
    );
    let page = include_str!("../../_page.html").replace("{title}", "guest book");
    Ok(Response::builder()
        .status(status)
        .body(Html(page.replace("{body}", &body)))?)
}

#[cfg(test)]
mod tests {
    use wasgi_sdk::{Environ, testing};

    use super::*;

    fn call(method: &str, body: &'static str) -> testing::Response {
        let environ = Environ::builder()
            .mounted_at("/guestbook")
            .path("/guestbook");
        testing::call(guestbook, environ.method(method).body(body).build())
    }

    #[test]
    fn an_entry_is_kept_and_the_latest_comes_first() {
        assert!(call("GET", "").text().contains("0 entries"));
        for (name, shown) in [("Ada", "1 entry,"), ("Grace", "2 entries,")] {
            let form = format!("name={name}&message=Hello+%3Cb%3E%0D%0Athere").leak();
            let added = call("POST", form);
            assert_eq!(
                (added.code(), added.header("location")),
                (303, Some("/guestbook"))
            );
            assert!(call("GET", "").text().contains(shown), "{shown}");
        }
        let page = call("GET", "").text();
        assert!(
            page.contains("Hello &lt;b&gt;") && !page.contains("<b>"),
            "{page}"
        );
        assert!(page.find("Grace") < page.find("Ada"), "{page}");
    }

    #[test]
    fn an_entry_without_text_or_with_too_much_is_not_kept() {
        let long = format!("name=a&message={}", "x".repeat(MAX_MESSAGE_CHARS + 1)).leak();
        for form in ["", "name=a", "name=+&message=b", long] {
            let refused = call("POST", form);
            assert_eq!(refused.code(), 400, "{form}");
            assert!(refused.text().contains("0 entries"));
        }
        assert_eq!(call("DELETE", "").code(), 405);
    }
}
