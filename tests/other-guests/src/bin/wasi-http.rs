//! A handler written with wstd. The last segment of the path selects what it does.

use std::convert::Infallible;
use std::fmt::{self, Write};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use futures_lite::stream::unfold;
use wstd::http::body::Bytes;
use wstd::http::{Body, Client, Error, Request, Response};
use wstd::time::Duration;

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let path = request.uri().path();
    let what = path.rsplit('/').next().unwrap_or(path).to_owned();
    let query = request.uri().query().unwrap_or("").to_owned();
    match what.as_str() {
        "echo" => Ok(Response::new(request.into_body())),
        "seen" => seen(request).await,
        "count" => count(request).await,
        "late-count" => Ok(Response::new(late_count(request.into_body()))),
        "stream" => Ok(Response::new(stream(query.parse()?))),
        "stderr" => {
            eprintln!("a word to standard error");
            println!("a word to standard output");
            text("said")
        }
        "outgoing" => outgoing(&query).await,
        "trap" => std::process::abort(),
        "panic" => panic!("as it was asked to"),
        "loop" => spin(),
        "memory" => fill_memory(),
        "fail" => bail!("no response today"),
        "late-fail" => Ok(Response::new(late(|| Err(fmt::Error)))),
        "late-trap" => Ok(Response::new(late(|| std::process::abort()))),
        "status" => Ok(Response::builder()
            .status(query.parse::<u16>()?)
            .header("X-Status", &query)
            .body(Body::empty())?),
        "cookies" => Ok(Response::builder()
            .header("Set-Cookie", "a=1")
            .header("Set-Cookie", "b=2")
            .body("cookies".to_owned().into())?),
        "big-head" => Ok(Response::builder()
            .header("X-Big", "x".repeat(query.parse()?))
            .body(Body::empty())?),
        // As a framework responds to HEAD or to a cache's revalidation: a length without a body.
        "announced" => Ok(Response::builder()
            .status(query.parse().unwrap_or(200))
            .header("Content-Length", "5")
            .body(Body::empty())?),
        "big" => Ok(Response::new(vec![b'x'; query.parse()?].into())),
        "length" => Ok(Response::builder()
            .header("Content-Length", &query)
            .body("12345".to_owned().into())?),
        _ => text("Hello from wasi:http\n"),
    }
}

fn text(text: &str) -> Result<Response<Body>> {
    Ok(Response::builder()
        .header("Content-Type", "text/plain")
        .body(text.to_owned().into())?)
}

/// Lists its request and its environment.
async fn seen(request: Request<Body>) -> Result<Response<Body>> {
    let (parts, _) = request.into_parts();
    let mut seen = format!("{} {}\n", parts.method, parts.uri);
    for (name, value) in &parts.headers {
        writeln!(
            seen,
            "{name}: {}",
            String::from_utf8_lossy(value.as_bytes())
        )?;
    }
    writeln!(seen, "{} variables", std::env::vars().count())?;
    writeln!(seen, "{} arguments", std::env::args().count())?;
    writeln!(seen, "file: {}", std::fs::read("/etc/passwd").is_ok())?;
    text(&seen)
}

/// Reads the whole body before it responds.
async fn count(request: Request<Body>) -> Result<Response<Body>> {
    let mut body = request.into_body();
    let length = body.contents().await.context("the body")?.len();
    text(&format!("{length} bytes"))
}

/// Computes for some milliseconds when its response has begun, and only then reads the body.
fn late_count(body: Body) -> Body {
    Body::from_try_stream(unfold(Some(body), |body| async move {
        let mut body = body?;
        let begin = Instant::now();
        while begin.elapsed().as_millis() < 5 {
            std::hint::spin_loop();
        }
        let read = body.contents().await.map(<[u8]>::len);
        let text = read.map(|length| Bytes::from(format!("{length} bytes")));
        Some((text.map_err(|_| fmt::Error), None))
    }))
}

/// Produces blocks, with a pause before each.
fn stream(blocks: u32) -> Body {
    Body::from_try_stream(unfold(0, move |number| async move {
        if number == blocks {
            return None;
        }
        wstd::task::sleep(Duration::from_millis(20)).await;
        let block = Bytes::from(format!("block {}\n", number + 1));
        Some((Ok::<_, Infallible>(block), number + 1))
    }))
}

/// Produces two blocks, then the result of `end`.
fn late(end: fn() -> Result<Bytes, fmt::Error>) -> Body {
    Body::from_try_stream(unfold(0, move |number| async move {
        wstd::task::sleep(Duration::from_millis(20)).await;
        let block = match number {
            0 => Ok(Bytes::from("one")),
            1 => Ok(Bytes::from("two")),
            _ => end(),
        };
        Some((block, number + 1))
    }))
}

async fn outgoing(url: &str) -> Result<Response<Body>> {
    let request = Request::get(url).body(Body::empty())?;
    match Client::new().send(request).await {
        Ok(_) => text("granted"),
        Err(error) => text(&format!("denied: {error:?}")),
    }
}

fn spin() -> ! {
    let mut number = 0_u64;
    loop {
        number = std::hint::black_box(number.wrapping_add(1));
    }
}

fn fill_memory() -> ! {
    let mut blocks = Vec::new();
    loop {
        blocks.push(std::hint::black_box(vec![1_u8; 1024 * 1024]));
    }
}
