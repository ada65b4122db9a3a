//! A constant page: the smallest and fastest handler.

use wasgi_sdk::{Environ, Result, StartResponse};

/// The complete page.
const PAGE: &str = include_str!("page.html");

#[wasgi_sdk::handler]
fn hello(_environ: Environ, start_response: StartResponse) -> Result<&'static str> {
    start_response.call("200 OK", &[("Content-Type", "text/html; charset=utf-8")])?;
    Ok(PAGE)
}

#[cfg(test)]
mod tests {
    use wasgi_sdk::testing;

    use super::*;

    #[test]
    fn it_is_the_page() {
        let response = testing::call(hello, Environ::builder().path("/hello").build());
        assert_eq!(response.status, "200 OK");
        assert_eq!(
            response.header("content-type"),
            Some("text/html; charset=utf-8")
        );
        assert!(response.text().contains("<h1>Hello!</h1>"));
    }

    #[test]
    fn it_is_the_same_each_time() {
        let body = || testing::call(hello, Environ::builder().build()).body();
        assert_eq!(body(), body());
    }
}
