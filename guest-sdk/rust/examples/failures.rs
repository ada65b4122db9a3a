//! Two kinds of errors: a client's error, which gets a status, and a handler's error, which is an
//! exception that the server logs with its place and its causes.

use std::fmt;
use std::num::ParseIntError;

use wasgi_sdk::http::{Response, StatusCode};
use wasgi_sdk::{Request, RequestExt, Result};

/// The prices of the articles, from a file that is edited by hand.
const PRICES: &str = "tea 290\ncoffee 3oo\n";

#[derive(Debug)]
struct PriceError {
    article: String,
    cause: ParseIntError,
}

impl fmt::Display for PriceError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the price of {} is not a number", self.article)
    }
}

impl std::error::Error for PriceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

#[wasgi_sdk::handler]
fn price(request: Request) -> Result<Response<String>> {
    let article = request.route("article").unwrap_or_default();
    let mut prices = PRICES.lines().filter_map(|line| line.split_once(' '));
    let Some((_, price)) = prices.find(|(name, _)| *name == article) else {
        let message = format!("no {article} today\n");
        return Ok(Response::builder()
            .status(StatusCode::NOT_FOUND)
            .body(message)?);
    };
    // `?` accepts any error.
    let cents: u32 = price
        .parse()
        .map_err(|cause| PriceError { article, cause })?;
    Ok(Response::new(format!(
        "{}.{:02}\n",
        cents / 100,
        cents % 100
    )))
}

#[cfg(test)]
mod tests {
    use wasgi_sdk::{Environ, testing};

    use super::*;

    fn ask(article: &str) -> testing::Response {
        testing::call(price, Environ::builder().route("article", article).build())
    }

    #[test]
    fn a_price_is_told() {
        assert_eq!(ask("tea").text(), "2.90\n");
    }

    #[test]
    fn what_is_not_there_is_the_clients_mistake() {
        assert_eq!(ask("cake").code(), 404);
        assert!(ask("cake").exceptions.is_empty());
    }

    #[test]
    fn a_broken_price_is_ours() {
        let response = ask("coffee");
        assert_eq!(response.code(), 500);
        let exception = &response.exceptions[0];
        assert_eq!(exception.kind, "PriceError");
        assert_eq!(exception.message, "the price of coffee is not a number");
        let (place, cause) = exception.traceback.split_once('\n').unwrap();
        assert!(place.contains("failures.rs:"), "{place}");
        assert_eq!(cause, "caused by: invalid digit found in string");
    }
}
