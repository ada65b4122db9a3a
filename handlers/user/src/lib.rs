//! Uses a segment of the path: `users/[id].wasm` answers `/users/7` and receives `7` as `id`.

use wasgi_sdk::http::{Response, StatusCode};
use wasgi_sdk::{Html, Request, RequestExt, Result, escape};

#[wasgi_sdk::handler]
fn user(request: Request) -> Result<Response<Html<String>>> {
    let Some(id) = request.route("id") else {
        return Err(wasgi_sdk::Error::msg(
            "the route binds no `id`: is the file users/[id].wasm?",
        ));
    };
    let rest = request.environ().path_info();
    if !rest.is_empty() && rest != "/" {
        return Ok(page(
            StatusCode::NOT_FOUND,
            "No such page",
            "<h1>No such page</h1>",
        )?);
    }
    let id = escape(&id);
    let body = format!(
        "<h1>User {id}</h1>\n\
         <p class=\"lead\">The file is <code>users/[id].wasm</code>, and <code>{id}</code> is what stands in the \
         place of <code>[id]</code>.</p>"
    );
    Ok(page(StatusCode::OK, &format!("User {id}"), &body)?)
}

fn page(
    status: StatusCode,
    title: &str,
    body: &str,
) -> Result<Response<Html<String>>, wasgi_sdk::http::Error> {
    let page = include_str!("../../_page.html").replace("{title}", title);
    Response::builder()
        .status(status)
        .body(Html(page.replace("{body}", body)))
}

#[cfg(test)]
mod tests {
    use wasgi_sdk::{Environ, testing};

    use super::*;

    fn call(target: &str, mount: &str, id: &str) -> testing::Response {
        let builder = Environ::builder().path(target).mounted_at(mount);
        testing::call(user, builder.route("id", id).build())
    }

    #[test]
    fn the_page_shows_the_id() {
        let response = call("/users/7", "/users/7", "7");
        assert_eq!(response.status, "200 OK");
        assert!(response.text().contains("<h1>User 7</h1>"));
    }

    #[test]
    fn an_id_is_text_and_no_markup() {
        let page = call("/users/%3Cb%3E", "/users/%3Cb%3E", "<b>").text();
        assert!(page.contains("<h1>User &lt;b&gt;</h1>") && !page.contains("<b>"));
    }

    #[test]
    fn nothing_is_below_a_user() {
        assert_eq!(call("/users/7/files", "/users/7", "7").code(), 404);
        assert_eq!(call("/users/7/", "/users/7", "7").code(), 200);
    }

    #[test]
    fn without_an_id_it_is_in_the_wrong_place() {
        let response = testing::call(user, Environ::builder().path("/user").build());
        assert_eq!(response.code(), 500);
    }
}
