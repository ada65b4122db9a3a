//! Writes more than its Content-Length: an endless sequence of blocks, one every 100 ms.

use std::io::Write;
use std::thread;
use std::time::Duration;

use wasgi_sdk::{Environ, Result, StartResponse};

#[wasgi_sdk::handler]
fn application(_environ: Environ, start_response: StartResponse) -> Result<String> {
    let fields = [("Content-Type", "text/plain"), ("Content-Length", "9")];
    let mut writer = start_response.call("200 OK", &fields)?;
    loop {
        writer.write_all(b"block")?;
        thread::sleep(Duration::from_millis(100));
    }
}
