//! The response to one request, from its head to the end of its body.

use super::encode::{
    ConnectionOption, Delimiter, is_bodiless, wire_status, write_head, write_hexadecimal,
};
use super::error::CloseReason;
use super::response::{BodyLength, Finish, Frame, ResponseHead, Skipped, Stamp};
use super::version::Version;

/// The state of a response that is being written.
#[derive(Debug)]
pub(super) struct Answer {
    version: Version,
    /// The method is HEAD: the response consists of a head alone.
    to_head: bool,
    progress: Progress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Unstarted,
    Body(Delimiter),
    Whole,
    Short,
}

impl Answer {
    /// Creates the state for the response to a request of HTTP version `version`. `to_head` says
    /// whether the method is HEAD.
    pub(super) fn new(version: Version, to_head: bool) -> Self {
        Self {
            version,
            to_head,
            progress: Progress::Unstarted,
        }
    }

    /// Returns how to mark the end of a body of this length (RFC 9112 section 6.3). HTTP/1.0 has no
    /// chunked coding (section 6.1).
    pub(super) fn delimiter(&self, status: u16, length: BodyLength) -> Delimiter {
        match length {
            _ if self.to_head || is_bodiless(wire_status(status)) => Delimiter::NoBody,
            BodyLength::Known(length) => Delimiter::Length(length),
            BodyLength::Unknown if self.version == Version::Http10 => Delimiter::Close,
            BodyLength::Unknown => Delimiter::Chunked,
        }
    }

    /// Writes the head. `is_last` says whether the connection reads no further request.
    pub(super) fn start<'a, F>(
        &mut self,
        head: &ResponseHead<'a, F>,
        length: BodyLength,
        is_last: bool,
        stamp: &Stamp<'_>,
        out: &mut Vec<u8>,
    ) -> Skipped<'a>
    where
        F: Iterator<Item = (&'a str, &'a [u8])> + Clone,
    {
        let delimiter = self.delimiter(head.status, length);
        let connection = match self.version {
            _ if is_last => ConnectionOption::Close,
            Version::Http11 => ConnectionOption::Unsaid,
            Version::Http10 => ConnectionOption::KeepAlive,
        };
        self.progress = Progress::Body(delimiter);
        write_head(head, delimiter, length, connection, stamp, out)
    }

    pub(super) fn is_started(&self) -> bool {
        self.progress != Progress::Unstarted
    }

    /// Writes the bytes that precede a block of the body. Writes nothing for an empty block: as a
    /// chunk, it would end the body.
    pub(super) fn frame(&mut self, len: usize, out: &mut Vec<u8>) -> Frame {
        let Progress::Body(delimiter) = &mut self.progress else {
            return Frame::default();
        };
        match delimiter {
            Delimiter::NoBody => Frame::default(),
            Delimiter::Close => Frame {
                take: len,
                suffix: b"",
            },
            Delimiter::Length(outstanding) => {
                let take = len.min(usize::try_from(*outstanding).unwrap_or(usize::MAX));
                *outstanding -= take as u64;
                Frame { take, suffix: b"" }
            }
            Delimiter::Chunked if len == 0 => Frame::default(),
            Delimiter::Chunked => {
                write_hexadecimal(len as u64, out);
                out.extend_from_slice(b"\r\n");
                Frame {
                    take: len,
                    suffix: b"\r\n",
                }
            }
        }
    }

    /// Writes the end of the body.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> Finish {
        self.progress = match self.progress {
            Progress::Body(Delimiter::Chunked) => {
                out.extend_from_slice(b"0\r\n\r\n");
                Progress::Whole
            }
            Progress::Body(Delimiter::NoBody | Delimiter::Close | Delimiter::Length(0))
            | Progress::Whole => Progress::Whole,
            Progress::Body(Delimiter::Length(_)) | Progress::Short => Progress::Short,
            Progress::Unstarted => return Finish::Short,
        };
        if self.progress == Progress::Whole {
            Finish::Whole
        } else {
            Finish::Short
        }
    }

    /// Returns why the connection must be cut if the response is incomplete.
    pub(super) fn why_cut(&self) -> Option<CloseReason> {
        match self.progress {
            Progress::Whole => None,
            Progress::Short => Some(CloseReason::AnswerShort),
            Progress::Unstarted | Progress::Body(_) => Some(CloseReason::AnswerUnfinished),
        }
    }
}
