//! Fails in a way that the query selects (`?how=panic`), to show how the server reacts.

use std::hint::black_box;

use wasgi_sdk::{Environ, Error, Result, StartResponse};

const TEXT: [(&str, &str); 1] = [("Content-Type", "text/plain; charset=utf-8")];
const HTML: [(&str, &str); 1] = [("Content-Type", "text/html; charset=utf-8")];

/// A way to fail.
struct Way {
    how: &'static str,
    what: &'static str,
    fail: fn(&StartResponse) -> Result<&'static str>,
}

const WAYS: [Way; 5] = [
    Way {
        how: "panic",
        what: "a panic, which ends in a trap: 500",
        fail: panic,
    },
    Way {
        how: "loop",
        what: "a loop without an end: 504",
        fail: endless_loop,
    },
    Way {
        how: "memory",
        what: "all the memory there is, and then some: 500",
        fail: memory,
    },
    Way {
        how: "exception",
        what: "an error that the handler returns: 500",
        fail: exception,
    },
    Way {
        how: "twice",
        what: "a second call of <code>start_response</code>: 500",
        fail: twice,
    },
];

#[wasgi_sdk::handler]
fn fail(environ: Environ, start_response: StartResponse) -> Result<String> {
    let query = environ.query();
    let Some(how) = query.get("how") else {
        start_response.call("200 OK", &HTML)?;
        return Ok(page());
    };
    match WAYS.iter().find(|way| way.how == how) {
        Some(way) => (way.fail)(&start_response).map(str::to_owned),
        None => {
            start_response.call("400 Bad Request", &TEXT)?;
            Ok("There is no such way to fail.\n".to_owned())
        }
    }
}

fn page() -> String {
    let link = |Way { how, what, .. }: &Way| {
        format!("<li><a href=\"?how={how}\"><code>{how}</code></a>: {what}</li>\n")
    };
    let links: String = WAYS.iter().map(link).collect();
    let body = format!(
        "<h1>Ways to fail</h1>\n\
         <p class=\"lead\">Each of these ends one request. No other request is touched, and neither is the next \
         one of this handler.</p>\n<ul>\n{links}</ul>"
    );
    let page = include_str!("../../_page.html").replace("{title}", "ways to fail");
    page.replace("{body}", &body)
}

fn panic(_: &StartResponse) -> Result<&'static str> {
    panic!("as it was asked to")
}

fn endless_loop(_: &StartResponse) -> Result<&'static str> {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

fn memory(_: &StartResponse) -> Result<&'static str> {
    let mut hoard = Vec::new();
    loop {
        hoard.push(black_box(vec![1_u8; 1024 * 1024]));
    }
}

fn exception(_: &StartResponse) -> Result<&'static str> {
    let answer: u8 = "four hundred".parse()?;
    Err(Error::msg(answer))
}

fn twice(start_response: &StartResponse) -> Result<&'static str> {
    start_response.call("200 OK", &TEXT)?;
    start_response.call("200 OK", &TEXT)?;
    Ok("That was one call too many.\n")
}

#[cfg(test)]
mod tests {
    use wasgi_sdk::testing;

    use super::*;

    fn call(path: &str) -> testing::Response {
        testing::call(fail, Environ::builder().path(path).build())
    }

    #[test]
    fn every_way_has_a_link() {
        let page = call("/fail").text();
        for way in WAYS {
            assert!(
                page.contains(&format!("href=\"?how={}\"", way.how)),
                "{}",
                way.how
            );
        }
    }

    #[test]
    fn an_exception_tells_where_it_comes_from() {
        let response = call("/fail?how=exception");
        assert_eq!(response.code(), 500);
        assert_eq!(response.exceptions[0].kind, "ParseIntError");
        assert!(response.exceptions[0].traceback.contains("lib.rs:"));
    }

    #[test]
    fn a_second_start_is_an_exception() {
        let response = call("/fail?how=twice");
        assert_eq!(
            (response.code(), &*response.exceptions[0].kind),
            (500, "StartError")
        );
    }

    #[test]
    #[should_panic(expected = "as it was asked to")]
    fn a_panic_is_a_panic() {
        call("/fail?how=panic");
    }

    #[test]
    fn an_unknown_way_is_the_clients_mistake() {
        assert_eq!(call("/fail?how=gracefully").code(), 400);
    }
}
