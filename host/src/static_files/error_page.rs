//! The built-in page for a status, used if the site has no page for it.

/// The text before the status. One style for light and dark mode, and no external resources.
const BEFORE: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<style>
body { margin: 0; min-height: 100vh; display: grid; place-items: center;
  font: 1.05rem/1.6 system-ui, sans-serif; color: #1d2330; background: #f6f7fb }
main { max-width: 34rem; padding: 2rem; box-sizing: border-box }
p { margin: 0; overflow-wrap: anywhere }
.status { font: 800 5rem/1 system-ui, sans-serif; letter-spacing: -.04em; color: #5b4be0 }
h1 { margin: .4rem 0 1rem; font-size: 1.5rem }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere;
  font: .95rem/1.6 system-ui, sans-serif }
small { display: block; margin-top: 2rem; color: #565d70 }
@media (prefers-color-scheme: dark) {
  body { color: #e6e8f0; background: #14161f } .status { color: #a99cff }
  small { color: #a6acbd } }
</style>
"#;

/// Creates a page for a status: the number, its reason, and `detail`, which may be empty or have
/// several lines. Both texts are escaped, so they may contain any characters.
pub fn error_page(status: u16, reason: &str, detail: &str) -> Vec<u8> {
    let reason = escape(reason);
    let mut page = String::from(BEFORE);
    page.push_str(&format!("<title>{status} {reason}</title>\n<main>\n"));
    page.push_str(&format!(
        "<p class=\"status\">{status}</p>\n<h1>{reason}</h1>\n"
    ));
    if !detail.is_empty() {
        page.push_str(&format!("<pre>{}</pre>\n", escape(detail)));
    }
    page.push_str("<small>wasgi</small>\n</main>\n</html>\n");
    page.into_bytes()
}

/// Escapes `text` for use as HTML text or as the value of a quoted attribute.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_status_and_detail() {
        let page = String::from_utf8(error_page(404, "Not Found", "no page\nhere")).expect("UTF-8");
        assert!(page.contains("<title>404 Not Found</title>"));
        assert!(page.contains("<pre>no page\nhere</pre>"));
        assert!(!String::from_utf8_lossy(&error_page(500, "x", "")).contains("<pre>"));
    }

    #[test]
    fn both_texts_are_escaped() {
        let nasty = "</pre><script>\"'&";
        let page = String::from_utf8(error_page(500, nasty, nasty)).expect("UTF-8");
        assert!(!page.contains("<script"));
        assert_eq!(
            page.matches("&lt;/pre&gt;&lt;script&gt;&quot;&#39;&amp;")
                .count(),
            3
        );
    }
}
