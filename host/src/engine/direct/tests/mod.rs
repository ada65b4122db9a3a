//! Compares applications that are called directly with the same applications as components: neither
//! the server, through the output, nor the application, through its memory, can tell the
//! difference.

mod damaged;
mod semantics;
mod shapes;
mod yields;

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use wasmtime::component::Component;

use crate::engine::code_file::CodeFile;
use crate::engine::compiled::Compiled;
use crate::engine::{Call, Engine, Program};
use crate::gateway::{Environ, Exchange, Failure, InputError, Step, Trace};
use crate::http1::{Limits, RequestHead};
use crate::policy::{Budget, Policy};

/// The functions of an application, inserted into `application.wat`.
#[derive(Clone, Copy)]
struct Text {
    realloc: &'static str,
    call: &'static str,
    next: &'static str,
    close: &'static str,
    after: &'static str,
}

const TEXT: Text = Text {
    realloc: "(call $allocate)",
    call: "(call $whole)",
    next: "unreachable",
    close: "unreachable",
    after: "",
};

impl Text {
    fn binary(self) -> Vec<u8> {
        binary(&self.text())
    }

    fn text(self) -> String {
        let realloc = self.realloc.replace(
            "(call $allocate)",
            "(call $allocate (local.get 2) (local.get 3))",
        );
        include_str!("application.wat")
            .replace("{{realloc}} allocates", "")
            .replace("{{call}}, {{next}} and {{close}} answer, {{after}}", "")
            .replace("{{realloc}}", &realloc)
            .replace("{{call}}", self.call)
            .replace("{{next}}", self.next)
            .replace("{{close}}", self.close)
            .replace("{{after}}", self.after)
    }
}

fn binary(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"))
}

/// The outcome of a request.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    steps: Vec<Step>,
    head: Option<String>,
    body: Vec<u8>,
    failure: Option<Failure>,
}

/// The request body.
#[derive(Clone, Copy)]
struct Input(&'static [u8], Result<(), InputError>);

const INPUT: Input = Input(b"hello", Ok(()));

/// Returns a program called directly, and the same program as a component.
fn both(bytes: &[u8]) -> [Program; 2] {
    let engine = Engine::compiling_here(&Budget::default(), None).unwrap();
    let direct = engine.load(bytes).unwrap();
    assert!(direct.is_direct(), "it can be called directly");
    let component = as_component(&engine, bytes);
    [direct, component]
}

/// Loads a program as an unchanged component.
fn as_component(engine: &Engine, bytes: &[u8]) -> Program {
    let component = Component::new(&engine.first.engine, bytes).unwrap();
    let code = CodeFile::from_compiled(&Compiled::Component(component)).unwrap();
    let component = engine.program(code).unwrap();
    assert!(!component.is_direct());
    component
}

fn environ() -> Environ {
    let request = b"GET /a/b?c HTTP/1.1\r\nHost: example.org\r\nX-Empty:\r\n\r\n";
    let parsed = RequestHead::parse(request, &Limits::default());
    let (head, _) = parsed.unwrap().unwrap();
    Environ {
        script_name: b"/a".to_vec(),
        path_info: b"/b".to_vec(),
        run_once: false,
        ..Environ::local(Arc::new(head))
    }
}

fn answer(program: &Program, input: Input, reuse: u32) -> Outcome {
    let budget = Budget::default();
    answer_with(program, input, Policy::new(budget, reuse))
}

fn answer_with(program: &Program, input: Input, policy: Policy) -> Outcome {
    let trace = Trace::recording();
    let exchange = Arc::new(Exchange::new(true).with_trace(trace.clone()));
    exchange.push_body(|into| into.extend_from_slice(input.0));
    exchange.end_body(input.1);
    let mut call = Call::new(program, "test".into(), environ(), exchange.clone(), policy);
    let mut context = Context::from_waker(Waker::noop());
    let (mut head, mut body) = (None, Vec::new());
    let mut take = || {
        let output = exchange.take_output();
        if let Some(given) = output.head {
            head = Some(format!("{given:?}"));
        }
        output
            .blocks
            .into_iter()
            .for_each(|block| body.extend(block));
        exchange.sent();
    };
    let finished = loop {
        match call.poll(&mut context) {
            Poll::Ready(finished) => break finished,
            Poll::Pending => take(),
        }
    };
    take();
    // Only the texts of traps differ.
    let failure = finished.failure.map(|failure| match failure {
        Failure::Trap(_) => Failure::Trap(String::new()),
        other => other,
    });
    let mut steps = trace.steps();
    for step in &mut steps {
        if let Step::Closed(Err(why)) = step
            && why.starts_with("trapped")
        {
            why.truncate("trapped".len());
        }
    }
    Outcome {
        steps,
        head,
        body,
        failure,
    }
}

/// Asserts that an application responds the same way either way, and returns the response.
#[track_caller]
fn alike_with(text: Text, input: Input) -> Outcome {
    let programs = both(&text.binary());
    let [direct, component] = programs.map(|program| answer(&program, input, 1));
    assert_eq!(direct, component);
    direct
}

#[track_caller]
fn alike(text: Text) -> Outcome {
    alike_with(text, INPUT)
}

/// Asserts that it traps either way.
#[track_caller]
fn traps(text: Text) {
    let outcome = alike(text);
    let failure = outcome.failure;
    assert_eq!(
        failure,
        Some(Failure::Trap(String::new())),
        "{:?}",
        text.call
    );
}

#[test]
fn an_answer_is_the_head_and_the_body_that_were_given() {
    let outcome = alike(Text {
        call: "(call $ok (local.get 1))
               (call $result (i32.const 0) (i32.const 0) (i32.const 392) (i32.const 7))",
        ..TEXT
    });
    assert_eq!(outcome.body, b"a block");
    assert!(outcome.head.unwrap().contains("X-Name"));
    assert_eq!(outcome.failure, None);
}

#[test]
fn variables_are_found_one_by_one() {
    let outcome = alike(Text {
        call: "(call $get (local.get 0) (i32.const 320) (i32.const 14) (i32.const 64)) (call $dump)
               (call $get (local.get 0) (i32.const 336) (i32.const 7) (i32.const 64)) (call $dump)
               (call $get (local.get 0) (i32.const 336) (i32.const 0) (i32.const 64)) (call $dump)
               (call $ok (local.get 1)) (call $dump)
               (call $whole)",
        ..TEXT
    });
    assert_eq!(outcome.body.len(), 8192);
    assert_eq!(&outcome.body[4096 - 1024..][..3], b"GET");
}

#[test]
fn all_variables_come_in_the_same_places() {
    let outcome = alike(Text {
        call: "(call $variables (local.get 0) (i32.const 64)) (call $dump)
               (call $ok (local.get 1)) (call $whole)",
        ..TEXT
    });
    let text = String::from_utf8_lossy(&outcome.body);
    assert!(
        text.contains("HTTP_HOSTexample.org") && text.contains("HTTP_X_EMPTY"),
        "{text}"
    );
}

#[test]
fn the_body_is_read_to_its_end_or_its_failure() {
    let text = Text {
        call: "(call $read (local.get 0) (i64.const 0) (i32.const 64)) (call $dump)
               (call $read (local.get 0) (i64.const 3) (i32.const 64)) (call $dump)
               (call $read (local.get 0) (i64.const -1) (i32.const 64)) (call $dump)
               (call $read (local.get 0) (i64.const 3) (i32.const 64)) (call $dump)
               (call $ok (local.get 1)) (call $whole)",
        ..TEXT
    };
    let outcome = alike(text);
    assert_eq!(&outcome.body[4096 - 1024..][..5], b"hello");
    for error in [
        InputError::Disconnected,
        InputError::TimedOut,
        InputError::TooLarge,
        InputError::Malformed,
    ] {
        let outcome = alike_with(text, Input(b"hel", Err(error)));
        assert!(outcome.steps.contains(&Step::ReadFailed));
    }
}

#[test]
fn what_is_refused_says_why() {
    let start = |status: &str, exc_info: &str| {
        format!(
            "(call $start (local.get 1) {status} (i32.const 288) (i32.const 1) {exc_info}
               (i32.const 64)) (call $dump) "
        )
    };
    let ok = "(i32.const 256) (i32.const 6)";
    let none = "(i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) \
                (i32.const 0) (i32.const 0)";
    let some = "(i32.const 1) (i32.const 360) (i32.const 4) (i32.const 368) (i32.const 7) \
                (i32.const 376) (i32.const 10)";
    let write = "(call $write (local.get 1) (i32.const 392) (i32.const 7) (i32.const 64)) \
                 (call $dump) ";
    // Not started; refused; started; started already; started again; sent; too late.
    let call = [
        write,
        &start("(i32.const 344) (i32.const 10)", none),
        &start(ok, none),
        &start(ok, none),
        &start(ok, some),
        write,
        "(call $write (local.get 1) (i32.const 392) (i32.const 0) (i32.const 64)) (call $dump) ",
        &start(ok, some),
        "(call $write-errors (local.get 0) (i32.const 376) (i32.const 10))",
        "(call $whole)",
    ]
    .concat();
    let outcome = alike(Text {
        call: call.leak(),
        ..TEXT
    });
    assert!(outcome.body.starts_with(b"a block"));
    assert!(String::from_utf8_lossy(&outcome.body).contains("status"));
    assert_eq!(outcome.steps.len(), 8, "{:?}", outcome.steps);
}

/// Three blocks, one of them empty, then the end.
const BLOCKS: Text = Text {
    call: "(call $ok (local.get 1))
           (call $result (i32.const 0) (i32.const 1) (call $new (i32.const 500)) (i32.const 0))",
    next: "(call $note (local.get $blocks))
           (i32.store (i32.const 500) (i32.add (i32.load (i32.const 500)) (i32.const 1)))
           (if (result i32) (i32.lt_u (i32.load (i32.const 500)) (i32.const 4))
             (then (call $result (i32.const 0) (i32.const 1) (i32.const 1024)
               (i32.mul (i32.sub (i32.load (i32.const 500)) (i32.const 1)) (i32.const 16))))
             (else (call $result (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))))",
    close: "(call $result (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))",
    ..TEXT
};

#[test]
fn blocks_come_one_by_one_and_are_closed() {
    let outcome = alike(BLOCKS);
    assert_eq!(outcome.failure, None);
    assert_eq!(outcome.body.len(), 16 + 32);
    // The first record is from the `post-return` of `call`.
    assert_eq!(outcome.body[0], 0xa);
    assert_eq!(outcome.steps.last(), Some(&Step::Closed(Ok(()))));
}

#[test]
fn blocks_are_the_applications_own_to_look_into() {
    let outcome = alike(Text {
        call: "(call $note (call $new (i32.const 7)))
               (call $note (call $new (i32.const 8)))
               (call $note (call $rep (i32.const 3))) (call $note (call $rep (i32.const 4)))
               (call $drop (i32.const 3))
               (call $note (call $new (i32.const 9)))
               (call $drop-environ (local.get 0))
               (call $note (call $new (i32.const 10)))
               (call $ok (local.get 1))
               (call $drop-start (local.get 1))
               (call $whole)",
        ..TEXT
    });
    // The destructor was called at the right time.
    let words: Vec<u8> = outcome.body.chunks(4).map(|word| word[0]).take(8).collect();
    assert_eq!(words, [3, 4, 7, 8, 0xd, 7, 3, 1]);
}

#[test]
fn exceptions_are_what_the_application_says() {
    let raised = alike(Text {
        call: "(call $raise)",
        ..TEXT
    });
    let Some(Failure::Exception(exception)) = raised.failure else {
        panic!("{raised:?}");
    };
    assert_eq!(
        (&*exception.kind, &*exception.message, &*exception.traceback),
        ("Kind", "message", "here\nthere")
    );
    let from_next = alike(Text {
        next: "(call $raise)",
        ..BLOCKS
    });
    assert_eq!(
        from_next.failure,
        Some(Failure::Exception(exception.clone()))
    );
    let from_close = alike(Text {
        close: "(call $raise)",
        ..BLOCKS
    });
    assert_eq!(
        from_close.failure,
        Some(Failure::Exception(exception.clone()))
    );
    let panic = alike(Text {
        call: "(call $panicked (i32.const 360) (i32.const 4) (i32.const 368) (i32.const 7)
                 (i32.const 376) (i32.const 10)) unreachable",
        ..TEXT
    });
    assert_eq!(panic.failure, Some(Failure::Panic(exception)));
}

#[test]
fn a_body_without_a_head_is_none() {
    let outcome = alike(TEXT);
    assert_eq!(outcome.failure, Some(Failure::NotStarted));
}

#[test]
fn what_an_application_may_not_pass_traps() {
    let start = |words: &str| format!("(call $start (local.get 1) {words}) (call $whole)");
    let none =
        "(i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)";
    let list = |words: &str| {
        start(&format!(
            "(i32.const 256) (i32.const 6) {words} (i32.const 0) {none} (i32.const 64)"
        ))
    };
    let result = |place: &str| {
        start(&format!(
            "(i32.const 256) (i32.const 6) (i32.const 288) (i32.const 2) (i32.const 0) {none} {place}"
        ))
    };
    let returns = |words: &str| format!("(call $ok (local.get 1)) (call $result {words})");
    for call in [
        // Status: out of bounds.
        start(&format!("(i32.const 65530) (i32.const 7) (i32.const 0) (i32.const 0) (i32.const 0) {none} (i32.const 64)")),
        // Fields: misaligned, out of bounds, too many, names out of bounds.
        list("(i32.const 290) (i32.const 1)"),
        list("(i32.const 65528) (i32.const 1)"),
        list("(i32.const 288) (i32.const -1)"),
        list("(i32.const 256) (i32.const 1)"),
        // Invalid case of an option.
        start(&format!("(i32.const 256) (i32.const 6) (i32.const 0) (i32.const 0) (i32.const 2) {none} (i32.const 64)")),
        // A result that doesn't fit.
        result("(i32.const 65536)"),
        result("(i32.const 65524)"),
        result("(i32.const 65)"),
        result("(i32.const -4)"),
        // Results: invalid case, out of bounds, misaligned, no blocks.
        returns("(i32.const 2) (i32.const 0) (i32.const 0) (i32.const 0)"),
        returns("(i32.const 0) (i32.const 2) (i32.const 0) (i32.const 0)"),
        returns("(i32.const 0) (i32.const 0) (i32.const 65536) (i32.const 1)"),
        returns("(i32.const 0) (i32.const 0) (i32.const 1) (i32.const -1)"),
        returns("(i32.const 0) (i32.const 1) (i32.const 0) (i32.const 0)"),
        returns("(i32.const 0) (i32.const 1) (i32.const 1) (i32.const 0)"),
        returns("(i32.const 1) (i32.const -1) (i32.const 9) (i32.const 0)"),
        "(call $ok (local.get 1)) (drop (call $whole)) (i32.const 130)".to_owned(),
        "(call $ok (local.get 1)) (drop (call $whole)) (i32.const 65512)".to_owned(),
        "(call $get (local.get 0) (i32.const 336) (i32.const 7) (i32.const 65528)) (call $ok (local.get 1)) (call $whole)".to_owned(),
        "(call $get (local.get 0) (i32.const 336) (i32.const 7) (i32.const 66)) (call $ok (local.get 1)) (call $whole)".to_owned(),
        "(call $variables (local.get 0) (i32.const 65532)) (call $ok (local.get 1)) (call $whole)".to_owned(),
        "(call $read (local.get 0) (i64.const 9) (i32.const 65528)) (call $ok (local.get 1)) (call $whole)".to_owned(),
        "(call $write (local.get 1) (i32.const 392) (i32.const 7) (i32.const 65535)) (call $ok (local.get 1)) (call $whole)".to_owned(),
        "(call $ok (local.get 1)) (drop (call $whole)) (i32.const -4)".to_owned(),
        // A name that is not UTF-8.
        "(call $get (local.get 0) (i32.const 272) (i32.const 6) (i32.const 64)) (call $ok (local.get 1)) (call $whole)".to_owned(),
        // Handles: unassigned, of another type, dropped.
        "(call $get (i32.const 0) (i32.const 320) (i32.const 14) (i32.const 64)) (call $whole)".to_owned(),
        "(call $get (i32.const 9) (i32.const 320) (i32.const 14) (i32.const 64)) (call $whole)".to_owned(),
        "(call $get (local.get 1) (i32.const 320) (i32.const 14) (i32.const 64)) (call $whole)".to_owned(),
        "(call $get (call $new (i32.const 0)) (i32.const 320) (i32.const 14) (i32.const 64)) (call $whole)".to_owned(),
        "(call $drop-environ (local.get 0)) (call $read (local.get 0) (i64.const 1) (i32.const 64)) (call $whole)".to_owned(),
        "(call $drop-environ (local.get 0)) (call $drop-environ (local.get 0)) (call $whole)".to_owned(),
        "(call $drop-start (local.get 0)) (call $whole)".to_owned(),
        "(call $drop (local.get 0)) (call $whole)".to_owned(),
        "(drop (call $rep (local.get 0))) (call $whole)".to_owned(),
        "(call $drop-start (local.get 1)) (call $ok (local.get 1)) (call $whole)".to_owned(),
    ] {
        traps(Text {
            call: call.leak(),
            ..TEXT
        });
    }
}

#[test]
fn blocks_that_trap_are_not_closed() {
    let outcome = alike(Text {
        next: "unreachable",
        ..BLOCKS
    });
    assert_eq!(outcome.failure, Some(Failure::Trap(String::new())));
    assert_eq!(outcome.steps.last(), Some(&Step::Iterates));
}

#[test]
fn what_allocates_is_not_believed() {
    let call = "(call $get (local.get 0) (i32.const 320) (i32.const 14) (i32.const 64))
                (call $ok (local.get 1)) (call $whole)";
    let list = "(call $variables (local.get 0) (i32.const 64))
                (call $ok (local.get 1)) (call $whole)";
    for (call, realloc) in [
        (call, "(i32.const 65536)"),
        (call, "(i32.const -1)"),
        (call, "unreachable"),
        (list, "(i32.const 4098)"),
        (list, "(i32.const -16)"),
        (list, "(i32.const 65528)"),
        // Calls the host during an allocation.
        (call, "(call_indirect (i32.const 0)) (i32.const 4096)"),
    ] {
        traps(Text {
            realloc,
            call,
            ..TEXT
        });
    }
}

#[test]
fn an_instance_that_serves_several_goes_on_alike() {
    let texts = [
        // Its allocations, and the calls that it makes during them, add up.
        Text {
            call: "(call $note (global.get $requests))
                   (call $get (local.get 0) (i32.const 320) (i32.const 14) (i32.const 64))
                   (call $ok (local.get 1)) (call $whole)",
            ..TEXT
        },
        BLOCKS,
        Text {
            call: "(call $ok (local.get 1)) (call $raise)",
            ..TEXT
        },
        // Dropped handles are assigned again.
        Text {
            call: "(call $note (local.get 0)) (call $note (local.get 1)) (call $ok (local.get 1))
                   (call $drop-environ (local.get 0)) (call $drop-start (local.get 1))
                   (call $whole)",
            ..TEXT
        },
        // A handle that was kept is invalid in the next request.
        Text {
            call: "(if (global.get $kept)
                     (then (call $get (global.get $kept) (i32.const 320) (i32.const 14) (i32.const 64))))
                   (global.set $kept (local.get 0))
                   (call $ok (local.get 1)) (call $whole)",
            ..TEXT
        },
    ];
    for text in texts {
        let programs = both(&text.binary());
        for turn in 0..4 {
            let [direct, component] = programs
                .each_ref()
                .map(|program| answer(program, INPUT, 10));
            assert_eq!(direct, component, "{turn}: {}", text.call);
        }
    }
}

#[test]
fn handles_that_are_never_given_back_fail_no_request() {
    let text = Text {
        call: "(i32.store (i32.const 1024) (local.get 0)) (call $ok (local.get 1)) (call $whole)",
        ..TEXT
    };
    let [direct, _] = both(&text.binary());
    let handles = (0..1_200).map(|_| {
        let outcome = answer(&direct, INPUT, 10_000);
        assert_eq!(outcome.failure, None);
        u32::from(outcome.body[0]) | u32::from(outcome.body[1]) << 8
    });
    let highest = handles.max();
    assert!(highest > Some(100), "one instance serves many: {highest:?}");
}
