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
    let (status, text) = match report(city)? {
        Some(report) => (200, format!("{city}: {report}")),
        None => (503, "No weather API is granted to this handler.".to_owned()),
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

/// Asks the API for the weather. Returns `None` if it isn't granted.
fn report(city: &str) -> Result<Option<String>> {
    let Some(api) = variable("WEATHER_API") else {
        return Ok(None);
    };
    match client::get(&format!("{api}?city={}", encoded(city))) {
        Ok(response) => Ok(Some(response.into_body().text()?)),
        Err(client::Error::Denied) => Ok(None),
        Err(error) => Err(error.into()),
    }
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
