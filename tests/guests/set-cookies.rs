//! Sets two cookies in two fields of the same name (R1).

use wasgi_sdk::{Environ, Result, StartResponse};

#[wasgi_sdk::handler]
fn application(_environ: Environ, start_response: StartResponse) -> Result<String> {
    start_response.call(
        "200 OK",
        &[("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2")],
    )?;
    Ok("two".to_owned())
}
