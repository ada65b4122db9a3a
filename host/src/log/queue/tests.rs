//! How the queue shares its space, and how it reports dropped lines.

use super::*;

const LINE: &[u8] = b"0123456789012345678901234567890123456789\n";

fn limits() -> Limits {
    Limits {
        line_bytes: 1024,
        rate_bytes_per_second: 1000,
        burst_bytes: 1 << 30,
        queue_bytes: 100_000,
    }
}

fn output(name: &str) -> Source {
    Source::Output(name.into())
}

/// Returns the text of the reports that are due.
fn reports(queue: &mut Queue, now: Instant, all: bool) -> Vec<String> {
    let reports = queue.reports(now, all).into_iter();
    reports.map(|(_, _, report)| report).collect()
}

/// Queues `count` lines and returns how many fit.
fn push(queue: &mut Queue, source: &Source, count: usize, now: Instant) -> usize {
    (0..count)
        .filter(|_| queue.push(source, LINE.to_vec(), now))
        .count()
}

/// Creates a queue whose limits accept one line, and drop two others of the output `a`.
fn with_two_dropped_lines(now: Instant) -> Queue {
    let mut queue = Queue::new(Limits {
        burst_bytes: LINE.len(),
        ..limits()
    });
    push(&mut queue, &output("a"), 3, now);
    queue
}

#[test]
fn one_that_logs_without_end_takes_a_third_and_loses_its_own_lines() {
    let now = Instant::now();
    let mut queue = Queue::new(limits());
    let charge = LINE.len() + OVERHEAD_BYTES;
    let greedy = push(&mut queue, &output("greedy"), 100_000, now) * charge;
    assert!((30_000..=33_400).contains(&greedy), "{greedy}");
    // Another source and the server still find room for their usual output.
    assert_eq!(push(&mut queue, &output("other"), 100, now), 100);
    assert_eq!(push(&mut queue, &Source::Server, 100, now), 100);
    assert_eq!(push(&mut queue, &output("greedy"), 1, now), 0);
    let reports = reports(&mut queue, now + REPORT_INTERVAL, false);
    let [report] = reports.as_slice() else {
        panic!("one line for the one that lost lines: {reports:?}");
    };
    assert!(report.starts_with("greedy: 99,6"), "{report}");
    assert!(
        report.contains("limits.log-queue = 100000B was full"),
        "{report}"
    );
}

#[test]
fn a_newline_is_charged_with_its_overhead() {
    let now = Instant::now();
    let mut queue = Queue::new(limits());
    let mut taken = 0;
    while queue.push(&output("newlines"), b"\n".to_vec(), now) {
        taken += 1;
    }
    assert!(taken <= 100_000 / 3 / OVERHEAD_BYTES + 1, "{taken}");
    assert!(queue.bytes <= 100_000);
}

#[test]
fn no_set_of_sources_fills_the_queue() {
    let now = Instant::now();
    let mut queue = Queue::new(limits());
    let handlers: Vec<_> = (0..50).map(|n| output(&format!("h{n}"))).collect();
    for _ in 0..1000 {
        for handler in &handlers {
            push(&mut queue, handler, 1, now);
        }
        push(&mut queue, &Source::Server, 100, now);
    }
    assert!(queue.bytes <= 100_000, "{}", queue.bytes);
    for handler in &handlers {
        let number = queue.account(handler, now);
        assert!(queue.accounts[number].bytes > 0, "each has had some");
    }
}

#[test]
fn a_handler_is_limited_to_its_rate_and_its_burst() {
    let now = Instant::now();
    let limits = Limits {
        burst_bytes: 10 * LINE.len(),
        ..limits()
    };
    let mut queue = Queue::new(limits);
    assert_eq!(push(&mut queue, &output("a"), 100, now), 10);
    // The server's messages about it and the lines of others have their own allowances.
    let failures = Source::Handler("a".into());
    assert_eq!(push(&mut queue, &failures, 5, now), 5);
    assert_eq!(push(&mut queue, &output("b"), 5, now), 5);
    assert_eq!(push(&mut queue, &Source::Server, 500, now), 500);
    let later = now + Duration::from_millis(250);
    assert_eq!(
        push(&mut queue, &output("a"), 100, later),
        6,
        "250 bytes more"
    );
    let report = "a: 184 lines (7.5 kB) dropped: it logs more than 1000B/s; raise \
                  limits.log-rate or limits.log-burst";
    let reports = reports(&mut queue, later + REPORT_INTERVAL, false);
    assert_eq!(reports, [report]);
    assert_eq!(queue.next_report(), None);
}

#[test]
fn dropped_lines_are_reported_once_per_interval_and_at_the_end() {
    let now = Instant::now();
    let mut queue = with_two_dropped_lines(now);
    assert_eq!(queue.next_report(), Some(now + REPORT_INTERVAL));
    assert!(reports(&mut queue, now, false).is_empty(), "too early");
    let at_end = reports(&mut queue, now, true);
    assert!(
        at_end[0].starts_with("a: 2 lines (82 B) dropped"),
        "{at_end:?}"
    );
    assert!(reports(&mut queue, now + REPORT_INTERVAL, true).is_empty());
}

#[test]
fn lines_that_an_output_did_not_accept_are_reported_as_lost() {
    let now = Instant::now();
    let mut queue = Queue::new(limits());
    push(&mut queue, &output("a"), 2, now);
    push(&mut queue, &Source::Server, 2, now);
    let batch = queue.take(now, false, str::to_owned);
    assert_eq!(batch.text, LINE.repeat(4));
    // In the middle of the third line.
    queue.finish(&batch, LINE.len() * 2 + 1, now);
    let reports = reports(&mut queue, now, true);
    assert_eq!(reports.len(), 1);
    assert!(reports[0].starts_with("wasgi: 2 lines (82 B) dropped: the log's output was closed"));
    assert_eq!(queue.bytes, 0);
}

#[test]
fn a_report_that_was_not_written_is_repeated() {
    let now = Instant::now();
    let mut queue = with_two_dropped_lines(now);
    let batch = queue.take(now, true, |report| format!("{report}\n"));
    assert!(batch.text.starts_with(b"a: 2 lines (82 B) dropped"));
    queue.finish(&batch, 0, now);
    let told = reports(&mut queue, now, true);
    assert!(
        told[0].contains("2 lines (82 B) dropped: it logs more"),
        "{told:?}"
    );
    assert!(told[0].contains("1 line (41 B) dropped: the log's output was closed"));
}

#[test]
fn accounts_of_handlers_that_are_gone_are_closed() {
    let now = Instant::now();
    let mut queue = Queue::new(limits());
    for number in 0..10 * ACCOUNTS_COUNT {
        push(&mut queue, &output(&number.to_string()), 1, now);
        let batch = queue.take(now, false, str::to_owned);
        queue.finish(&batch, batch.text.len(), now);
        // Long enough to refill each bucket.
        queue.account(&Source::Server, now);
    }
    let later = now + Duration::from_secs(1 << 30);
    push(&mut queue, &output("new"), 1, later);
    assert!(queue.accounts.len() <= 2, "{}", queue.accounts.len());
    assert_eq!(queue.numbers.len(), queue.accounts.len());
}

#[test]
fn numbers_and_sizes_are_formatted_for_people() {
    assert_eq!(grouped(999), "999");
    assert_eq!(grouped(1_234_567), "1,234,567");
    assert_eq!(about(999), "999 B");
    assert_eq!(about(1_234_567), "1.2 MB");
}
