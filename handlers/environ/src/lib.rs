//! Shows every variable of the request in a table.

use wasgi_sdk::{Environ, Result, StartResponse, escape};

#[wasgi_sdk::handler]
fn environ(environ: Environ, start_response: StartResponse) -> Result<String> {
    let mut variables = environ.variables();
    variables.sort_unstable();
    let rows: String = variables
        .iter()
        .map(|(name, value)| row(name, value))
        .collect();
    let body = format!(
        "<h1>The environ</h1>\n\
         <p class=\"lead\">What WSGI tells a handler about a request: {} variables.</p>\n\
         <table class=\"pairs\">\n<thead><tr><th scope=\"col\">Variable</th><th scope=\"col\">Value</th></tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table>",
        variables.len()
    );
    start_response.call("200 OK", &[("Content-Type", "text/html; charset=utf-8")])?;
    let page = include_str!("../../_page.html").replace("{title}", "the environ");
    Ok(page.replace("{body}", &body))
}

/// Formats one row. Bytes that are not UTF-8 are shown as ISO-8859-1, as in Python's WSGI.
fn row(name: &str, value: &[u8]) -> String {
    let value = match std::str::from_utf8(value) {
        Ok(text) => text.to_owned(),
        Err(_) => value.iter().copied().map(char::from).collect(),
    };
    let (name, value) = (escape(name), escape(&value));
    format!("<tr><td>{name}</td><td>{value}</td></tr>\n")
}

#[cfg(test)]
mod tests {
    use wasgi_sdk::testing;

    use super::*;

    #[test]
    fn every_variable_has_a_row() {
        let environ = Environ::builder().path("/environ?a=1").build();
        let variables = environ.variables();
        let page = testing::call(self::environ, environ).text();
        assert_eq!(page.matches("<tr><td>").count(), variables.len());
        assert!(page.contains("<td>QUERY_STRING</td><td>a=1</td>"));
    }

    #[test]
    fn what_a_client_sends_is_escaped() {
        let environ = Environ::builder()
            .header("User-Agent", "<script>alert(1)</script>")
            .header("X-Bytes", b"caf\xe9")
            .build();
        let page = testing::call(self::environ, environ).text();
        assert!(!page.contains("<script>"));
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
        assert!(page.contains("<td>café</td>"));
    }
}
