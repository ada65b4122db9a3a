//! Lists every variable of its request, one per line: the name, `=`, and the escaped value. If
//! `get` returns another value for the name, that follows.

use wasgi_sdk::{Environ, Result, StartResponse};

const TEXT: [(&str, &str); 1] = [("Content-Type", "text/plain; charset=utf-8")];

#[wasgi_sdk::handler]
fn application(environ: Environ, start_response: StartResponse) -> Result<String> {
    let mut text = String::new();
    for (name, value) in environ.variables() {
        text += &format!("{name}={}\n", value.escape_ascii());
        if environ.get(&name).as_deref() != Some(&*value) {
            text += &format!("{name} is another one when it is asked for\n");
        }
    }
    start_response.call("200 OK", &TEXT)?;
    Ok(text)
}
