//! A form with the `http` crate: `GET` shows it, and `POST` reads the submitted values.

use wasgi_sdk::http::{Method, Response, StatusCode};
use wasgi_sdk::{Html, Request, RequestExt, Result, escape};

#[wasgi_sdk::handler]
fn form(mut request: Request) -> Result<Response<Html<String>>> {
    let answer = Response::builder();
    Ok(match *request.method() {
        Method::GET => answer.body(Html(
            "<form method=\"post\"><input name=\"name\"><button>Say hello</button></form>".into(),
        ))?,
        Method::POST => {
            let form = request.form()?;
            let name = escape(form.get("name").unwrap_or("nobody"));
            answer.body(Html(format!("<p>Hello, {name}!</p>")))?
        }
        _ => answer
            .status(StatusCode::METHOD_NOT_ALLOWED)
            .header("Allow", "GET, POST")
            .body(Html(String::new()))?,
    })
}

#[cfg(test)]
mod tests {
    use wasgi_sdk::{Environ, testing};

    use super::*;

    #[test]
    fn the_form_is_shown() {
        let response = testing::call(form, Environ::builder().build());
        assert_eq!(
            response.header("content-type"),
            Some("text/html; charset=utf-8")
        );
        assert!(response.text().starts_with("<form"));
    }

    #[test]
    fn what_was_typed_is_read_and_escaped() {
        let posted = Environ::builder().method("POST").body("name=Ada+%26+Co");
        let response = testing::call(form, posted.build());
        assert_eq!(response.text(), "<p>Hello, Ada &amp; Co!</p>");
    }

    #[test]
    fn other_methods_are_refused() {
        let response = testing::call(form, Environ::builder().method("DELETE").build());
        assert_eq!(
            (response.code(), response.header("allow")),
            (405, Some("GET, POST"))
        );
    }
}
