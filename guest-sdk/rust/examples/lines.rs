//! Numbers the lines of the request's body, and returns each as it arrives: neither the body nor
//! the response is ever in memory as a whole.

use std::io::BufRead;

use wasgi_sdk::{Body, Request};

#[wasgi_sdk::handler]
fn number_lines(request: Request) -> Body {
    // A line is a `Result`: an error while reading ends the response with an exception.
    let lines = request.into_body().lines();
    let numbered = lines
        .enumerate()
        .map(|(index, line)| line.map(|line| format!("{:>4}  {line}\n", index + 1)));
    Body::blocks(numbered)
}

#[cfg(test)]
mod tests {
    use wasgi_sdk::{Environ, InputError, testing};

    use super::*;

    #[test]
    fn every_line_has_a_number() {
        // The body arrives in two pieces, which split a line.
        let request = Environ::builder()
            .method("POST")
            .body("first\nsec")
            .body("ond\n");
        let response = testing::call(number_lines, request.build());
        assert_eq!(response.text(), "   1  first\n   2  second\n");
    }

    #[test]
    fn a_body_that_breaks_off_is_an_exception() {
        let broken = Environ::builder().method("POST").body("first\nsec");
        let broken = broken.body_fails(InputError::Disconnected);
        let response = testing::call(number_lines, broken.build());
        assert_eq!(response.text(), "   1  first\n");
        assert!(
            response.exceptions[0]
                .message
                .contains("client disconnected")
        );
    }
}
