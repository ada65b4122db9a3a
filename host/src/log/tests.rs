//! Logs with a slow, full or closed output, and the format of their lines.

use std::io::{self, ErrorKind, Write};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use super::*;

/// The time limit of each step, after which a test fails.
const HANG: Duration = Duration::from_secs(60);

/// The result of one write by the log's thread.
type Verdict = io::Result<()>;

/// An output whose every write waits for a verdict. Writes succeed once the sender is dropped.
struct Gated {
    verdicts: Receiver<Verdict>,
    text: Arc<Mutex<Vec<u8>>>,
}

impl Write for Gated {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.verdicts.recv().unwrap_or(Ok(()))?;
        self.text.lock().expect("whole").extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Fixture {
    log: Log,
    verdicts: Sender<Verdict>,
    text: Arc<Mutex<Vec<u8>>>,
}

impl Fixture {
    fn new(limits: &Limits) -> Self {
        let (verdicts, receiver) = mpsc::channel();
        let text = Arc::<Mutex<Vec<u8>>>::default();
        let output = Gated {
            verdicts: receiver,
            text: text.clone(),
        };
        let log = Log::start("test", output, limits).expect("a thread");
        Self {
            log,
            verdicts,
            text,
        }
    }

    /// Lets all further writes succeed, and waits for all lines.
    fn finish(self) -> Vec<String> {
        drop(self.verdicts);
        self.log.flush_until(Instant::now() + HANG);
        let text = self.text.lock().expect("whole").clone();
        let text = String::from_utf8(text).expect("text");
        text.lines().map(str::to_owned).collect()
    }
}

fn output(name: &str) -> Source {
    Source::Output(name.into())
}

fn subscriber(log: &Log) -> LogSubscriber {
    LogSubscriber {
        log: log.clone(),
        level: LEVEL,
        colours: false,
        only_denials: false,
    }
}

#[test]
fn a_blocked_output_blocks_no_caller_and_reports_its_losses() {
    let fixture = Fixture::new(&Limits {
        queue_bytes: 64 * 1024,
        burst_bytes: 1 << 30,
        ..Limits::default()
    });
    // The output blocks and nothing may wait for it: each of these calls could hang.
    for _ in 0..10_000 {
        fixture.log.send(&output("greedy"), b"greedy\n".to_vec());
    }
    for _ in 0..10 {
        fixture.log.send(&output("modest"), b"modest\n".to_vec());
        fixture.log.announce("server\n");
    }
    let lines = fixture.finish();
    let count = |text: &str| lines.iter().filter(|line| *line == text).count();
    assert_eq!((count("modest"), count("server")), (10, 10));
    let kept = count("greedy");
    assert!((100..9000).contains(&kept), "{kept}");
    let reports: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("dropped"))
        .collect();
    let [report] = reports.as_slice() else {
        panic!("one report, not {reports:?}");
    };
    let lost = queue::grouped(10_000 - kept as u64);
    assert!(
        report.contains(&format!(" WARN greedy: {lost} lines (")),
        "{report}"
    );
}

#[test]
fn a_full_disk_loses_no_line_that_still_finds_room() {
    let fixture = Fixture::new(&Limits::default());
    let full = || Err(ErrorKind::StorageFull.into());
    fixture.verdicts.send(full()).expect("it listens");
    fixture.verdicts.send(full()).expect("it listens");
    for number in 0..100 {
        fixture.log.announce(format!("line {number}\n"));
    }
    let lines = fixture.finish();
    let expected: Vec<String> = (0..100).map(|number| format!("line {number}")).collect();
    assert_eq!(lines, expected, "each once, in order");
}

#[test]
fn a_closed_output_does_not_delay_the_exit() {
    let fixture = Fixture::new(&Limits::default());
    fixture
        .verdicts
        .send(Err(ErrorKind::BrokenPipe.into()))
        .expect("it listens");
    fixture.log.announce("lost\n");
    // Returns as soon as the line is discarded; otherwise it would take a minute.
    fixture.log.flush_until(Instant::now() + HANG);
    fixture.log.announce("for the next reader\n");
    let lines = fixture.finish();
    assert_eq!(lines.len(), 2, "{lines:?}");
    let report = " WARN wasgi: 1 line (5 B) dropped: the log's output was closed";
    let is_report = |line: &&String| line.ends_with(report);
    assert_eq!(lines.iter().filter(is_report).count(), 1, "{lines:?}");
}

#[test]
fn a_relay_waits_for_room_and_gives_up_without_progress() {
    let fixture = Fixture::new(&Limits {
        queue_bytes: 1024,
        ..Limits::default()
    });
    let piece = [b"x".repeat(99), b"\n".to_vec()].concat();
    let (done, is_done) = mpsc::channel();
    let log = fixture.log.clone();
    thread::spawn(move || {
        // Far more than fits while the output is blocked.
        for _ in 0..100 {
            log.send_when_room(&Source::Worker(1), piece.clone());
        }
        done.send(()).expect("it is waited for");
    });
    is_done.recv_timeout(HANG).expect("it gives up waiting");
    let lines = fixture.finish();
    let kept = lines.iter().filter(|line| line.starts_with('x')).count();
    assert!((1..100).contains(&kept), "{kept}");
    assert!(
        lines.iter().any(|line| line.contains("WARN worker 1: ")),
        "{lines:?}"
    );
}

#[test]
fn a_relay_loses_nothing_while_the_output_is_slow() {
    let fixture = Fixture::new(&Limits {
        queue_bytes: 1024,
        ..Limits::default()
    });
    drop(fixture.verdicts);
    for number in 0..1000 {
        let line = format!("{number}\n").into_bytes();
        fixture.log.send_when_room(&Source::Worker(1), line);
    }
    fixture.log.flush_until(Instant::now() + HANG);
    let text = fixture.text.lock().expect("whole");
    assert_eq!(text.split(|&byte| byte == b'\n').count() - 1, 1000);
}

#[test]
fn messages_name_time_level_and_handler_and_keep_to_their_lines() {
    let fixture = Fixture::new(&Limits {
        line_bytes: 100,
        ..Limits::default()
    });
    tracing::subscriber::with_default(subscriber(&fixture.log), || {
        let name = "a\u{202e}b";
        tracing::error!(handler = name, "raised E: x\nERROR fake\x1b\u{2028}");
        tracing::warn!("{}", "é".repeat(100));
        tracing::debug!("nobody wants to know");
    });
    let lines = fixture.finish();
    let [first, second, third] = lines.as_slice() else {
        panic!("{lines:#?}");
    };
    let (time, rest) = first.split_at("2026-11-29T06:53:18.123456Z".len());
    assert!(time.ends_with('Z') && time.as_bytes()[10] == b'T', "{time}");
    assert_eq!(rest, " ERROR a\\u{202e}b: raised E: x");
    assert_eq!(second, "    ERROR fake\\u{1b}\\u{2028}");
    let cut = format!("  WARN {} …", "é".repeat(50));
    assert!(third.ends_with(&cut), "{third}");
}

#[test]
fn a_handlers_line_is_escaped_and_counted_with_its_frame() {
    let fixture = Fixture::new(&Limits::default());
    let subscriber = subscriber(&fixture.log);
    let bytes = subscriber.handler_line(
        Level::WARN,
        &"shop".into(),
        None,
        b"\xff\\x \"q\" \x1b[0m\r",
    );
    let empty = subscriber.handler_line(Level::INFO, &"shop".into(), None, b"");
    assert_eq!(
        subscriber.handler_line(Level::DEBUG, &"shop".into(), None, b"x"),
        0
    );
    let lines = fixture.finish();
    assert!(
        lines[0].ends_with("  WARN shop: \\xff\\\\x \"q\" \\u{1b}[0m"),
        "{lines:?}"
    );
    assert_eq!(bytes, lines[0].len() + 1);
    assert_eq!(empty, lines[1].len() + 1);
    assert_eq!(empty, least_bytes("shop", b""));
}
