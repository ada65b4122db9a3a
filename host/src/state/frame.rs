//! The protocol between the owner of an embedded store and other processes: frames, each a length
//! of 4 bytes, a number that a reply shares with its request, and a message. Numbers are in
//! little-endian order; texts and bytes begin with their length.

use std::io::{self, Read, Write};

use super::bucket::BucketId;
use super::operation::{BucketStatistics, Digest, Entry, Failure, Operation, Reply, Request};

/// The maximum length of a frame, in bytes: a batch with the longest values and keys, and the
/// longest list of buckets, two hundred thousand.
const MAX_FRAME_BYTES: u32 = 32 << 20;

/// The version of the protocol. It must change with every change of this file.
const VERSION: &str = concat!("wasgi state 1 ", env!("CARGO_PKG_VERSION"));

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// The first message in each direction.
    Hello(String),
    Request(Request),
    /// A request for the content of one bucket or of all: the replies are entries, and then `Done`
    /// or a failure.
    Export(Option<String>),
    Reply(Result<Reply, Failure>),
    Entry(Entry),
    /// The owner's last message: requests without a reply were not executed.
    Goodbye,
}

impl Message {
    /// Returns the first message.
    pub(super) fn hello() -> Self {
        Self::Hello(VERSION.into())
    }
}

/// Writes a frame.
pub(super) fn write(stream: &mut impl Write, id: u64, message: &Message) -> io::Result<()> {
    let mut frame = Encoder(vec![0; 4]);
    frame.number(id);
    frame.message(message);
    let mut bytes = frame.0;
    let length = u32::try_from(bytes.len() - 4).ok();
    let length = length.filter(|length| *length <= MAX_FRAME_BYTES);
    let length = length.ok_or_else(|| bad("a message is too long"))?;
    if let Some(front) = bytes.first_chunk_mut() {
        *front = length.to_le_bytes();
    }
    stream.write_all(&bytes)
}

/// Reads a frame. Returns `None` at the end of the stream.
pub(super) fn read(stream: &mut impl Read) -> io::Result<Option<(u64, Message)>> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u32::from_le_bytes(length);
    if length > MAX_FRAME_BYTES {
        return Err(bad("a message is too long"));
    }
    let mut bytes = Vec::new();
    stream.take(length.into()).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != u64::from(length) {
        return Ok(None);
    }
    let mut decoder = Decoder(&bytes);
    let message = decoder
        .number()
        .and_then(|id| Some((id, decoder.message()?)));
    match message {
        Some(message) if decoder.0.is_empty() => Ok(Some(message)),
        _ => Err(bad("a message can't be parsed")),
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

struct Encoder(Vec<u8>);

impl Encoder {
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    fn number(&mut self, number: u64) {
        self.0.extend(number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn optional(&mut self, bytes: Option<&[u8]>) {
        self.byte(bytes.is_some().into());
        if let Some(bytes) = bytes {
            self.bytes(bytes);
        }
    }

    fn list<T>(&mut self, items: &[T], mut each: impl FnMut(&mut Self, &T)) {
        self.number(items.len() as u64);
        for item in items {
            each(self, item);
        }
    }

    fn message(&mut self, message: &Message) {
        match message {
            Message::Hello(version) => {
                self.byte(0);
                self.text(version);
            }
            Message::Request(request) => {
                self.byte(1);
                self.text(request.bucket.as_str());
                self.number(request.keys_count);
                self.number(request.bucket_bytes);
                self.number(request.total_bytes);
                self.operation(&request.operation);
            }
            Message::Export(bucket) => {
                self.byte(2);
                self.optional(bucket.as_deref().map(str::as_bytes));
            }
            Message::Reply(Ok(reply)) => {
                self.byte(3);
                self.reply(reply);
            }
            Message::Reply(Err(failure)) => {
                self.byte(4);
                self.text(&failure.0);
            }
            Message::Entry(entry) => {
                self.byte(5);
                self.text(&entry.bucket);
                self.text(&entry.key);
                self.bytes(&entry.value);
            }
            Message::Goodbye => self.byte(6),
        }
    }

    fn operation(&mut self, operation: &Operation) {
        let text = |encoder: &mut Self, text: &String| encoder.text(text);
        match operation {
            Operation::Get(key) => {
                self.byte(0);
                self.text(key);
            }
            Operation::Exists(key) => {
                self.byte(1);
                self.text(key);
            }
            Operation::Keys(after) => {
                self.byte(2);
                self.optional(after.as_deref().map(str::as_bytes));
            }
            Operation::GetMany(keys) => {
                self.byte(3);
                self.list(keys, text);
            }
            Operation::Set(key, value) => {
                self.byte(4);
                self.text(key);
                self.bytes(value);
            }
            Operation::Delete(key) => {
                self.byte(5);
                self.text(key);
            }
            Operation::Increment(key, delta) => {
                self.byte(6);
                self.text(key);
                self.number(delta.cast_unsigned());
            }
            Operation::Swap(key, expected, value) => {
                self.byte(7);
                self.text(key);
                self.optional(expected.as_ref().map(|digest| &digest[..]));
                self.bytes(value);
            }
            Operation::SetMany(pairs) => {
                self.byte(8);
                self.list(pairs, |encoder, (key, value)| {
                    encoder.text(key);
                    encoder.bytes(value);
                });
            }
            Operation::DeleteMany(keys) => {
                self.byte(9);
                self.list(keys, text);
            }
            Operation::Buckets => self.byte(10),
        }
    }

    fn reply(&mut self, reply: &Reply) {
        match reply {
            Reply::Done => self.byte(0),
            Reply::Value(value) => {
                self.byte(1);
                self.optional(value.as_deref());
            }
            Reply::Flag(flag) => {
                self.byte(2);
                self.byte((*flag).into());
            }
            Reply::Keys(keys, more) => {
                self.byte(3);
                self.list(keys, |encoder, key| encoder.text(key));
                self.byte((*more).into());
            }
            Reply::Values(values) => {
                self.byte(4);
                self.list(values, |encoder, value| encoder.optional(value.as_deref()));
            }
            Reply::Number(number) => {
                self.byte(5);
                self.number(number.cast_unsigned());
            }
            Reply::Buckets(buckets) => {
                self.byte(6);
                self.list(buckets, |encoder, bucket| {
                    encoder.text(&bucket.bucket);
                    encoder.number(bucket.keys_count);
                    encoder.number(bucket.bytes);
                });
            }
        }
    }
}

struct Decoder<'b>(&'b [u8]);

impl<'b> Decoder<'b> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*number))
    }

    fn slice(&mut self) -> Option<&'b [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        Some(self.slice()?.to_vec())
    }

    fn text(&mut self) -> Option<String> {
        Some(std::str::from_utf8(self.slice()?).ok()?.to_owned())
    }

    fn optional<T>(&mut self, item: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.flag()? {
            true => Some(Some(item(self)?)),
            false => Some(None),
        }
    }

    /// Parses a list. Its memory grows with the items that were sent, not with their declared
    /// number.
    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.number()?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(item(self)?);
        }
        Some(items)
    }

    fn message(&mut self) -> Option<Message> {
        Some(match self.byte()? {
            0 => Message::Hello(self.text()?),
            1 => Message::Request(Request {
                bucket: BucketId::parse(&self.text()?).ok()?,
                keys_count: self.number()?,
                bucket_bytes: self.number()?,
                total_bytes: self.number()?,
                operation: self.operation()?,
            }),
            2 => Message::Export(self.optional(Self::text)?),
            3 => Message::Reply(Ok(self.reply()?)),
            4 => Message::Reply(Err(Failure(self.text()?))),
            5 => Message::Entry(Entry {
                bucket: self.text()?,
                key: self.text()?,
                value: self.bytes()?,
            }),
            6 => Message::Goodbye,
            _ => return None,
        })
    }

    fn operation(&mut self) -> Option<Operation> {
        Some(match self.byte()? {
            0 => Operation::Get(self.text()?),
            1 => Operation::Exists(self.text()?),
            2 => Operation::Keys(self.optional(Self::text)?),
            3 => Operation::GetMany(self.list(Self::text)?),
            4 => Operation::Set(self.text()?, self.bytes()?),
            5 => Operation::Delete(self.text()?),
            6 => Operation::Increment(self.text()?, self.number()?.cast_signed()),
            7 => Operation::Swap(
                self.text()?,
                self.optional(|decoder| Digest::try_from(decoder.slice()?).ok())?,
                self.bytes()?,
            ),
            8 => {
                Operation::SetMany(self.list(|decoder| Some((decoder.text()?, decoder.bytes()?)))?)
            }
            9 => Operation::DeleteMany(self.list(Self::text)?),
            10 => Operation::Buckets,
            _ => return None,
        })
    }

    fn reply(&mut self) -> Option<Reply> {
        Some(match self.byte()? {
            0 => Reply::Done,
            1 => Reply::Value(self.optional(Self::bytes)?),
            2 => Reply::Flag(self.flag()?),
            3 => Reply::Keys(self.list(Self::text)?, self.flag()?),
            4 => Reply::Values(self.list(|decoder| decoder.optional(Self::bytes))?),
            5 => Reply::Number(self.number()?.cast_signed()),
            6 => Reply::Buckets(self.list(|decoder| {
                Some(BucketStatistics {
                    bucket: decoder.text()?,
                    keys_count: decoder.number()?,
                    bytes: decoder.number()?,
                })
            })?),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages() -> Vec<Message> {
        let text = || "kéy".to_owned();
        let operations = [
            Operation::Get(text()),
            Operation::Exists(String::new()),
            Operation::Keys(None),
            Operation::Keys(Some(text())),
            Operation::GetMany(vec![text(), text()]),
            Operation::Set(text(), vec![0, 255]),
            Operation::Delete(text()),
            Operation::Increment(text(), i64::MIN),
            Operation::Swap(text(), Some([7; 32]), vec![]),
            Operation::Swap(text(), None, vec![1]),
            Operation::SetMany(vec![(text(), vec![1, 2])]),
            Operation::DeleteMany(vec![]),
            Operation::Buckets,
        ];
        let requests = operations.map(|operation| {
            Message::Request(Request {
                bucket: BucketId::of_handler("a", "b"),
                keys_count: 5,
                bucket_bytes: u64::MAX,
                total_bytes: 7,
                operation,
            })
        });
        let replies = [
            Reply::Done,
            Reply::Value(None),
            Reply::Value(Some(vec![9])),
            Reply::Flag(true),
            Reply::Keys(vec![text()], true),
            Reply::Values(vec![None, Some(vec![])]),
            Reply::Number(-1),
            Reply::Buckets(vec![BucketStatistics {
                bucket: text(),
                keys_count: 1,
                bytes: 2,
            }]),
        ];
        let others = [
            Message::hello(),
            Message::Export(None),
            Message::Export(Some(text())),
            Message::Reply(Err(Failure(text()))),
            Message::Entry(Entry {
                bucket: text(),
                key: text(),
                value: vec![3],
            }),
            Message::Goodbye,
        ];
        let replies = replies.map(|reply| Message::Reply(Ok(reply)));
        requests.into_iter().chain(replies).chain(others).collect()
    }

    #[test]
    fn each_message_arrives_as_it_was_sent() {
        let mut sent = Vec::new();
        for (id, message) in (7..).zip(messages()) {
            write(&mut sent, id, &message).expect("it is short");
        }
        let mut stream = &sent[..];
        for (id, message) in (7..).zip(messages()) {
            assert_eq!(read(&mut stream).expect("good"), Some((id, message)));
        }
        assert_eq!(read(&mut stream).expect("the end"), None);
    }

    #[test]
    fn a_part_of_a_message_is_the_end_and_a_damaged_one_an_error_that_takes_no_memory() {
        for message in messages() {
            let mut sent = Vec::new();
            write(&mut sent, 1, &message).expect("it is short");
            for length in 0..sent.len() {
                assert_eq!(read(&mut &sent[..length]).expect("the end"), None);
            }
            // Any other byte: another message, or an error. Never a panic or a huge allocation.
            for at in 4..sent.len() {
                for byte in [0, 1, 0x7f, 0xff] {
                    let mut damaged = sent.clone();
                    damaged[at] = byte;
                    let _ = read(&mut &damaged[..]);
                }
            }
            sent.push(0);
            let length = u32::try_from(sent.len() - 4).expect("it is short");
            sent[..4].copy_from_slice(&length.to_le_bytes());
            assert!(read(&mut &sent[..]).is_err(), "a byte too many");
        }
        assert!(read(&mut &[0xff; 12][..]).is_err());
    }
}
