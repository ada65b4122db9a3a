//! Raises an error that has a cause, and has the message `?say=`.

use wasgi_sdk::{Environ, Error, Result, StartResponse};

#[wasgi_sdk::handler]
fn application(environ: Environ, _start_response: StartResponse) -> Result<()> {
    let query = environ.query();
    let said = query.get("say").unwrap_or_default();
    let cause = "four hundred".parse::<u16>();
    cause.map_err(|error| Error::new("ValueError", format!("no number: {error} {said}")))?;
    Ok(())
}
