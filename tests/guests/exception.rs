//! Raises an error that has a cause.

use wasgi_sdk::{Environ, Error, Result, StartResponse};

#[wasgi_sdk::handler]
fn application(_environ: Environ, _start_response: StartResponse) -> Result<()> {
    let cause = "four hundred".parse::<u16>();
    cause.map_err(|error| Error::new("ValueError", format!("no number: {error}")))?;
    Ok(())
}
