//! `wasgi state`: reads and changes the key-value buckets of a site, while its server runs or not.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::cli;
use crate::cli::StateCommand;
use crate::printable;
use crate::state::{
    Admin, BucketId, CopyTarget, Failure, MAX_BATCH_BYTES, MAX_BATCH_COUNT, Operation, Reply,
    parse_line, show_line,
};

/// The maximum length of a line of an import, in bytes: that of the largest value, of which each
/// byte can be an escape of six.
const MAX_LINE_BYTES: u64 = 7 * MAX_BATCH_BYTES;

/// Runs `wasgi state`. Returns exit code 1 if a key doesn't exist.
///
/// # Errors
///
/// Fails if the configuration or a bucket's name is invalid, the store is not available, or a limit
/// is exceeded.
pub fn state(arguments: &cli::StateArguments) -> anyhow::Result<ExitCode> {
    let config = arguments.load()?.config;
    let open = |creates| Admin::open(&config.state, config.buckets, creates);
    let creates = matches!(
        &arguments.command,
        StateCommand::Set { .. } | StateCommand::Import { .. }
    );
    let Some(mut admin) = open(creates)? else {
        // Nothing is stored yet.
        return Ok(match &arguments.command {
            StateCommand::Get { .. } => ExitCode::FAILURE,
            StateCommand::Copy { .. } => {
                let folder = config.state.folder().display();
                bail!("{folder}: there is no state to copy")
            }
            _ => ExitCode::SUCCESS,
        });
    };
    match &arguments.command {
        StateCommand::List { bucket: None } => list_buckets(&mut admin)?,
        StateCommand::List {
            bucket: Some(bucket),
        } => list_keys(&mut admin, &parse(bucket)?)?,
        StateCommand::Get { bucket, key } => {
            return get(&mut admin, parse(bucket)?, key);
        }
        StateCommand::Set { bucket, key, value } => {
            let value = match value {
                Some(value) => value.clone().into_bytes(),
                None => read_value()?,
            };
            admin.call(parse(bucket)?, Operation::Set(key.clone(), value))?;
        }
        StateCommand::Delete {
            bucket, all: true, ..
        } => delete_all(&mut admin, &parse(bucket)?)?,
        StateCommand::Delete { bucket, keys, .. } => {
            let bucket = parse(bucket)?;
            for keys in keys.chunks(MAX_BATCH_COUNT) {
                admin.call(bucket.clone(), Operation::DeleteMany(keys.to_vec()))?;
            }
        }
        StateCommand::Export { bucket } => {
            let bucket = bucket.as_deref().map(parse).transpose()?;
            export(&mut admin, bucket.as_ref())?;
        }
        StateCommand::Import { file: None } => import(&mut admin, "standard input", io::stdin())?,
        StateCommand::Import { file: Some(path) } => {
            let shown = path.display().to_string();
            let file = File::open(path).with_context(|| shown.clone())?;
            import(&mut admin, &shown, file)?;
        }
        StateCommand::Copy { file } => {
            let mut copy = CopyTarget::create(file)?;
            admin.export(None, |entry| copy.add(entry))?;
            copy.finish()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Parses the name of a bucket. `HANDLER/NAME` is short for `handler:HANDLER/NAME`.
fn parse(text: &str) -> anyhow::Result<BucketId> {
    let is_whole = text.starts_with("handler:") || text.starts_with("shared:");
    let id = match is_whole {
        true => BucketId::parse(text),
        false => BucketId::parse(&format!("handler:{text}")),
    };
    let explain = |_| {
        let shown = printable::one_line(text);
        anyhow::anyhow!("{shown}: not a bucket: expected HANDLER/NAME or shared:NAME")
    };
    id.map_err(explain)
}

/// Writes lines to standard output. A reader that has closed it wants no more.
fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => Ok(()),
        Err(error) => Err(Failure(format!("standard output: {error}"))),
    }
}

fn list_buckets(admin: &mut Admin) -> anyhow::Result<()> {
    let buckets = match admin.call(BucketId::shared("all"), Operation::Buckets)? {
        Reply::Buckets(buckets) => buckets,
        _ => Vec::new(),
    };
    for bucket in buckets {
        let name = printable::one_line(&bucket.bucket);
        let keys = match bucket.keys_count {
            1 => "1 key".to_owned(),
            count => format!("{count} keys"),
        };
        print(&format!("{name}\t{keys}\t{} bytes\n", bucket.bytes))?;
    }
    Ok(())
}

fn list_keys(admin: &mut Admin, bucket: &BucketId) -> anyhow::Result<()> {
    let mut after = None;
    loop {
        let (keys, has_more) = page(admin, bucket, after)?;
        for key in &keys {
            print(&format!("{}\n", printable::one_line(key)))?;
        }
        if !has_more {
            return Ok(());
        }
        after = keys.last().cloned();
    }
}

fn page(
    admin: &mut Admin,
    bucket: &BucketId,
    after: Option<String>,
) -> anyhow::Result<(Vec<String>, bool)> {
    match admin.call(bucket.clone(), Operation::Keys(after))? {
        Reply::Keys(keys, has_more) => Ok((keys, has_more)),
        _ => bail!("the store has sent an unexpected reply"),
    }
}

fn get(admin: &mut Admin, bucket: BucketId, key: &str) -> anyhow::Result<ExitCode> {
    match admin.call(bucket, Operation::Get(key.to_owned()))? {
        Reply::Value(Some(value)) => {
            let mut out = io::stdout();
            out.write_all(&value).and_then(|()| out.flush())?;
            Ok(ExitCode::SUCCESS)
        }
        _ => Ok(ExitCode::FAILURE),
    }
}

fn read_value() -> anyhow::Result<Vec<u8>> {
    let mut value = Vec::new();
    io::stdin()
        .take(MAX_BATCH_BYTES + 1)
        .read_to_end(&mut value)?;
    Ok(value)
}

fn delete_all(admin: &mut Admin, bucket: &BucketId) -> anyhow::Result<()> {
    loop {
        let (keys, has_more) = page(admin, bucket, None)?;
        admin.call(bucket.clone(), Operation::DeleteMany(keys))?;
        if !has_more {
            return Ok(());
        }
    }
}

fn export(admin: &mut Admin, bucket: Option<&BucketId>) -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout());
    let failed = |error: io::Error| Failure(format!("standard output: {error}"));
    admin.export(bucket, |entry| {
        writeln!(out, "{}", show_line(entry)).map_err(failed)
    })?;
    out.flush()?;
    Ok(())
}

/// Sets what the lines of an export say. Lines before a mistake are imported.
fn import(admin: &mut Admin, shown: &str, from: impl Read) -> anyhow::Result<()> {
    let mut lines = BufReader::new(from);
    let mut batch = Batch::default();
    for number in 1.. {
        let mut line = String::new();
        let at = || format!("{shown}:{number}");
        let read = (&mut lines).take(MAX_LINE_BYTES).read_line(&mut line);
        if read.with_context(at)? == 0 {
            break;
        }
        if line.trim().is_empty() {
            continue;
        }
        let entry = parse_line(&line);
        let (bucket, key, value) = entry.map_err(anyhow::Error::msg).with_context(at)?;
        batch.add(admin, bucket, key, value).with_context(at)?;
    }
    batch.send(admin).with_context(|| shown.to_owned())
}

/// Keys and values of one bucket that are set together.
#[derive(Default)]
struct Batch {
    bucket: Option<BucketId>,
    pairs: Vec<(String, Vec<u8>)>,
    bytes: u64,
}

impl Batch {
    fn add(
        &mut self,
        admin: &mut Admin,
        bucket: BucketId,
        key: String,
        value: Vec<u8>,
    ) -> anyhow::Result<()> {
        let is_full = self.pairs.len() == MAX_BATCH_COUNT
            || self.bytes + value.len() as u64 > MAX_BATCH_BYTES;
        if is_full || self.bucket.as_ref() != Some(&bucket) {
            self.send(admin)?;
            self.bucket = Some(bucket);
        }
        self.bytes += value.len() as u64;
        self.pairs.push((key, value));
        Ok(())
    }

    fn send(&mut self, admin: &mut Admin) -> anyhow::Result<()> {
        let pairs = std::mem::take(&mut self.pairs);
        self.bytes = 0;
        if let Some(bucket) = &self.bucket {
            admin.call(bucket.clone(), Operation::SetMany(pairs))?;
        }
        Ok(())
    }
}
