//! The commands and scripts for operations, and their replies.

use std::collections::BTreeMap;

use redis::{Cmd, ConnectionLike, RedisResult, Value};

use crate::state::operation::{
    self, Failure, MAX_BATCH_BYTES, MAX_BATCH_COUNT, MAX_PAGE_BYTES, Operation, Reply, Request,
};

/// The replies of scripts that change nothing, because of a limit.
const TOO_MANY_KEYS: &str = "keys";
const TOO_MANY_BYTES: &str = "bytes";
const TOO_MANY_IN_TOTAL: &str = "total";

/// The front of all scripts that write. Its keys are the values, the sorted keys, the size, the set
/// of buckets and the size of all of them; its first arguments the bucket, the limit on keys, the
/// limit on bytes and the limit on the bytes of all buckets.
///
/// `total` returns the size of all buckets, `room` the limit that would be exceeded, `resize`
/// stores the sizes, `put` sets keys.
const FRONT: &str = r"
local function size()
  return redis.call('HLEN', KEYS[1]), tonumber(redis.call('GET', KEYS[3]) or '0')
end
local function total()
  local known = redis.call('GET', KEYS[5])
  if known then return tonumber(known) end
  local sum, prefix = 0, string.sub(KEYS[1], 1, #KEYS[1] - #ARGV[1])
  for _, bucket in ipairs(redis.call('SMEMBERS', KEYS[4])) do
    sum = sum + tonumber(redis.call('GET', prefix .. bucket .. ':bytes') or '0')
  end
  return sum
end
local function room(count, bytes, count_after, bytes_after)
  if count_after > tonumber(ARGV[2]) and count_after > count then return 'keys' end
  if bytes_after <= bytes then return end
  if bytes_after > tonumber(ARGV[3]) then return 'bytes' end
  if total() - bytes + bytes_after > tonumber(ARGV[4]) then return 'total' end
end
local function resize(bytes)
  local _, before = size()
  redis.call('SET', KEYS[5], string.format('%.0f', total() - before + bytes))
  if redis.call('HLEN', KEYS[1]) == 0 then
    redis.call('DEL', KEYS[2], KEYS[3])
    redis.call('SREM', KEYS[4], ARGV[1])
  else
    redis.call('SET', KEYS[3], string.format('%.0f', bytes))
    redis.call('SADD', KEYS[4], ARGV[1])
  end
end
local function put(first)
  local count, bytes = size()
  local count_after, bytes_after = count, bytes
  for at = first, #ARGV, 2 do
    if redis.call('HEXISTS', KEYS[1], ARGV[at]) == 1 then
      bytes_after = bytes_after - #ARGV[at] - redis.call('HSTRLEN', KEYS[1], ARGV[at])
    else
      count_after = count_after + 1
    end
    bytes_after = bytes_after + #ARGV[at] + #ARGV[at + 1]
  end
  local limit = room(count, bytes, count_after, bytes_after)
  if limit then return limit end
  for at = first, #ARGV, 2 do
    redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
    redis.call('ZADD', KEYS[2], 0, ARGV[at])
  end
  resize(bytes_after)
  return 1
end
";

/// Sets keys: further arguments are keys and values in turn.
const SET: &str = "return put(5)";

/// Deletes keys: further arguments are keys.
const DELETE: &str = r"
local count, bytes = size()
for at = 5, #ARGV do
  if redis.call('HEXISTS', KEYS[1], ARGV[at]) == 1 then
    bytes = bytes - #ARGV[at] - redis.call('HSTRLEN', KEYS[1], ARGV[at])
    redis.call('HDEL', KEYS[1], ARGV[at])
    redis.call('ZREM', KEYS[2], ARGV[at])
  end
end
resize(bytes)
return 1
";

/// Adds to a number: further arguments are the key and the number. Returns the sum as text: a
/// script's numbers have 53 bits.
const INCREMENT: &str = r"
local count, bytes = size()
local old = redis.call('HGET', KEYS[1], ARGV[5])
local done = redis.pcall('HINCRBY', KEYS[1], ARGV[5], ARGV[6])
if type(done) == 'table' and done.err then return done end
local new = redis.call('HGET', KEYS[1], ARGV[5])
local count_after, bytes_after = count, bytes
if old then
  bytes_after = bytes - #old + #new
else
  count_after, bytes_after = count + 1, bytes + #ARGV[5] + #new
end
local limit = room(count, bytes, count_after, bytes_after)
if limit then
  if old then
    redis.call('HSET', KEYS[1], ARGV[5], old)
  else
    redis.call('HDEL', KEYS[1], ARGV[5])
  end
  return limit
end
redis.call('ZADD', KEYS[2], 0, ARGV[5])
resize(bytes_after)
return {new}
";

/// Sets a key if it has a value: further arguments are whether it must exist, the value that it
/// must have, the key, and the new value.
const SWAP: &str = r"
local old = redis.call('HGET', KEYS[1], ARGV[7])
if ARGV[5] == '1' then
  if old ~= ARGV[6] then return 0 end
elseif old then
  return 0
end
return put(7)
";

/// Returns the values of keys, unless they are too large together: the arguments are the limit in
/// bytes, and the keys.
const GET_MANY: &str = r"
if #ARGV == 1 then return {} end
local bytes = 0
for at = 2, #ARGV do
  bytes = bytes + redis.call('HSTRLEN', KEYS[1], ARGV[at])
  if bytes > tonumber(ARGV[1]) then return bytes end
end
return redis.call('HMGET', KEYS[1], unpack(ARGV, 2))
";

/// The digests under which a server has the scripts.
pub(super) struct Scripts {
    set: String,
    delete: String,
    increment: String,
    swap: String,
    get_many: String,
}

impl Scripts {
    /// Sends the scripts to the server.
    pub(super) fn load(connection: &mut impl ConnectionLike) -> RedisResult<Self> {
        let mut load = |front: &str, body: &str| -> RedisResult<String> {
            let script = format!("{front}{body}");
            redis::cmd("SCRIPT")
                .arg("LOAD")
                .arg(script)
                .query(connection)
        };
        Ok(Self {
            set: load(FRONT, SET)?,
            delete: load(FRONT, DELETE)?,
            increment: load(FRONT, INCREMENT)?,
            swap: load(FRONT, SWAP)?,
            get_many: load("", GET_MANY)?,
        })
    }

    /// Returns the command for an operation. `current` is the value that a swap replaces.
    pub(super) fn command(&self, prefix: &str, request: &Request, current: Option<&[u8]>) -> Cmd {
        let values = format!("{prefix}{}", request.bucket);
        let sorted = format!("{values}:keys");
        let write = |script: &str| {
            let mut command = redis::cmd("EVALSHA");
            command
                .arg(script)
                .arg(5)
                .arg(&values)
                .arg(&sorted)
                .arg(format!("{values}:bytes"))
                .arg(format!("{prefix}buckets"))
                .arg(format!("{prefix}total"))
                .arg(request.bucket.as_str())
                .arg(request.keys_count)
                .arg(request.bucket_bytes)
                .arg(request.total_bytes);
            command
        };
        let mut command;
        match &request.operation {
            Operation::Get(key) => {
                command = redis::cmd("HGET");
                command.arg(&values).arg(key);
            }
            Operation::Exists(key) => {
                command = redis::cmd("HEXISTS");
                command.arg(&values).arg(key);
            }
            Operation::Keys(after) => {
                let first = after.as_ref().map_or("-".into(), |key| format!("({key}"));
                command = redis::cmd("ZRANGEBYLEX");
                command.arg(&sorted).arg(first).arg("+");
                command.arg("LIMIT").arg(0).arg(MAX_BATCH_COUNT + 1);
            }
            Operation::GetMany(keys) => {
                command = redis::cmd("EVALSHA");
                command.arg(&self.get_many).arg(1).arg(&values);
                command.arg(MAX_BATCH_BYTES).arg(keys);
            }
            Operation::Set(key, value) => {
                command = write(&self.set);
                command.arg(key).arg(value);
            }
            Operation::SetMany(pairs) => {
                // The last value of a key applies.
                let last: BTreeMap<&str, &[u8]> = pairs
                    .iter()
                    .map(|(key, value)| (&**key, &**value))
                    .collect();
                command = write(&self.set);
                for (key, value) in last {
                    command.arg(key).arg(value);
                }
            }
            Operation::Delete(key) => {
                command = write(&self.delete);
                command.arg(key);
            }
            Operation::DeleteMany(keys) => {
                command = write(&self.delete);
                command.arg(keys);
            }
            Operation::Increment(key, delta) => {
                command = write(&self.increment);
                command.arg(key).arg(*delta);
            }
            Operation::Swap(key, _, value) => {
                command = write(&self.swap);
                command
                    .arg(u8::from(current.is_some()))
                    .arg(current.unwrap_or_default())
                    .arg(key)
                    .arg(value);
            }
            Operation::Buckets => command = redis::cmd("PING"),
        }
        command
    }
}

/// Converts the server's reply to an operation.
pub(super) fn parse(request: &Request, value: Value) -> Result<Reply, Failure> {
    let limit = match &value {
        Value::ServerError(error) => {
            let text = error.to_string();
            return Err(match &request.operation {
                Operation::Increment(..) if text.contains("not an integer") => {
                    operation::not_a_number()
                }
                Operation::Increment(..) if text.contains("overflow") => operation::out_of_range(),
                _ => Failure(format!("Redis: {}", crate::printable::one_line(&text))),
            });
        }
        Value::BulkString(bytes) if !request.operation.is_read() => Some(&**bytes),
        _ => None,
    };
    match limit.map(std::str::from_utf8) {
        Some(Ok(TOO_MANY_KEYS)) => return Err(operation::too_many_keys(request.keys_count)),
        Some(Ok(TOO_MANY_BYTES)) => return Err(operation::too_many_bytes(request.bucket_bytes)),
        Some(Ok(TOO_MANY_IN_TOTAL)) => {
            return Err(operation::too_many_in_total(request.total_bytes));
        }
        _ => {}
    }
    let unexpected = || Err(Failure::new("Redis has sent an unexpected reply"));
    match (&request.operation, value) {
        (Operation::Get(_), Value::Nil) => Ok(Reply::Value(None)),
        (Operation::Get(_), Value::BulkString(bytes)) => Ok(Reply::Value(Some(bytes))),
        (Operation::Exists(_), Value::Int(flag)) | (Operation::Swap(..), Value::Int(flag)) => {
            Ok(Reply::Flag(flag == 1))
        }
        (Operation::Keys(_), value @ Value::Array(_)) => Ok(page(texts(vec![value]))),
        (Operation::GetMany(_), Value::Array(values)) => {
            let bytes = |value| match value {
                Value::BulkString(bytes) => Some(bytes),
                _ => None,
            };
            Ok(Reply::Values(values.into_iter().map(bytes).collect()))
        }
        (Operation::GetMany(_), Value::Int(bytes)) => {
            operation::check_batch(bytes.unsigned_abs()).and_then(|()| unexpected())
        }
        (Operation::Increment(..), Value::Array(values)) => {
            let sum = texts(vec![Value::Array(values)]).pop();
            match sum.and_then(|sum| sum.parse().ok()) {
                Some(sum) => Ok(Reply::Number(sum)),
                None => unexpected(),
            }
        }
        (
            Operation::Set(..)
            | Operation::SetMany(_)
            | Operation::Delete(_)
            | Operation::DeleteMany(_),
            Value::Int(_),
        ) => Ok(Reply::Done),
        _ => unexpected(),
    }
}

/// Limits the size of a reply with keys.
fn page(mut keys: Vec<String>) -> Reply {
    let mut bytes = 0;
    let fits = keys.iter().take(MAX_BATCH_COUNT).take_while(|key| {
        let is_first = bytes == 0;
        bytes += key.len();
        is_first || bytes <= MAX_PAGE_BYTES
    });
    let count = fits.count();
    let has_more = count < keys.len();
    keys.truncate(count);
    Reply::Keys(keys, has_more)
}

/// Returns the texts in replies. Those that are not UTF-8 can't be keys of handlers.
pub(super) fn texts(values: Vec<Value>) -> Vec<String> {
    let mut texts = Vec::new();
    for value in values {
        match value {
            Value::BulkString(bytes) => texts.extend(String::from_utf8(bytes).ok()),
            Value::Array(values) | Value::Set(values) => texts.extend(self::texts(values)),
            _ => {}
        }
    }
    texts
}

/// Returns the number in a reply.
pub(super) fn number(value: &Value) -> u64 {
    match value {
        Value::Int(number) => u64::try_from(*number).unwrap_or(0),
        Value::BulkString(bytes) => std::str::from_utf8(bytes)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(0),
        _ => 0,
    }
}
