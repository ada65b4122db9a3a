//! Shows the weather of a city, which it asks an API for.
//!
//! The server's operator names the API and grants its host, in `wasgi.toml`:
//!
//! ```toml
//! [handlers.weather]
//! environment = { WEATHER_API = "https://api.example.com/weather" }
//! allowed-outbound-hosts = ["https://api.example.com"]
//! ```

use wasgi_sdk::http::Response;
use wasgi_sdk::{Html, Request, RequestExt, Result, client, escape, variable};

#[wasgi_sdk::handler]
fn weather(request: Request) -> Result<Response<Html<String>>> {
    let query = request.query();
    let city = query.get("city").unwrap_or("Oslo");
    let (status, text) = match report(city) {
        Ok(report) => (200, format!("{city}: {report}")),
        Err((status, problem)) => (status, problem),
    };
    let body = format!(
        "<h1>The weather</h1>\n\
         <p class=\"lead\">{}</p>\n\
         <form><label>City <input name=\"city\"></label> <button>Ask</button></form>",
        escape(&text)
    );
    let page = include_str!("../../_page.html").replace("{title}", "the weather");
    Ok(Response::builder()
        .status(status)
        .header("Cache-Control", "no-store")
        .body(Html(page.replace("{body}", &body)))?)
}

/// Asks the API for the weather. Fails with a status and a text.
fn report(city: &str) -> Result<String, (u16, String)> {
    let denied = || (503, "No weather API is granted to this handler.".to_owned());
    let api = variable("WEATHER_API").ok_or_else(denied)?;
    let response = match client::get(&format!("{api}?city={}", encoded(city))) {
        Err(client::Error::Denied) => return Err(denied()),
        response => response.map_err(failure)?,
    };
    match response.status().as_u16() {
        200 => response.into_body().text().map_err(failure),
        status => Err((
            502,
            format!("The weather API answers with status {status}."),
        )),
    }
}

fn failure(error: impl std::fmt::Display) -> (u16, String) {
    (502, format!("The weather API fails: {error}"))
}

/// Encodes text for a query.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => encoded.push(char::from(byte)),
            _ => encoded += &format!("%{byte:02X}"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use wasgi_sdk::{Environ, testing};

    use super::*;

    #[test]
    fn without_an_api_it_says_so() {
        let response = testing::call(weather, Environ::builder().path("/weather").build());
        assert_eq!(response.status, "503 Service Unavailable");
    }

    #[test]
    fn a_city_is_encoded_for_a_query() {
        assert_eq!(encoded("São Paulo&x"), "S%C3%A3o%20Paulo%26x");
    }
}
