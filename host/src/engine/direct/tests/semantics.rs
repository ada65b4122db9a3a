//! What an application may do and when, what it sees of the host, and which of its functions are
//! called: the rules of the canonical ABI, which both ways follow.

use super::{BLOCKS, INPUT, Outcome, TEXT, Text, alike, answer, both, traps};
use crate::engine::limits::HANDLES;
use crate::gateway::{Failure, Step};

/// The entries of the table that contain calls to the host. All but the last are allowed only while
/// the application's own code runs.
const REENTERING: std::ops::Range<u32> = 0..5;
const REP: u32 = 5;

fn reenters(place: u32) -> &'static str {
    format!("(call_indirect (i32.const {place}))").leak()
}

/// Responds with a whole body, and has created a `blocks`.
const WHOLE: Text = Text {
    call: "(global.set $blocks (call $new (i32.const 77)))
           (call $get (local.get 0) (i32.const 320) (i32.const 14) (i32.const 64))
           (call $ok (local.get 1)) (call $whole)",
    ..TEXT
};

#[test]
fn what_comes_after_a_return_may_call_nothing() {
    for place in REENTERING {
        for text in [WHOLE, BLOCKS] {
            traps(Text {
                after: reenters(place),
                ..text
            });
        }
    }
    let outcome = alike(Text {
        after: reenters(REP),
        ..WHOLE
    });
    assert_eq!(outcome.failure, None);
}

#[test]
fn what_allocates_may_call_nothing() {
    for place in REENTERING {
        traps(Text {
            realloc: format!("{} (call $allocate)", reenters(place)).leak(),
            ..WHOLE
        });
    }
    let outcome = alike(Text {
        realloc: format!("{} (call $allocate)", reenters(REP)).leak(),
        ..WHOLE
    });
    assert_eq!(outcome.failure, None);
    assert!(outcome.body.chunks(4).any(|word| word == [77, 0, 0, 0]));
}

#[test]
fn what_comes_after_a_return_is_called_whatever_is_returned() {
    let after = "unreachable";
    for text in [
        WHOLE,
        BLOCKS,
        Text {
            call: "(call $ok (local.get 1)) (call $raise)",
            ..TEXT
        },
    ] {
        traps(Text { after, ..text });
    }
    // Only after the second block, and only after the end.
    for turn in [2, 5] {
        let trapping = format!(
            "(if (i32.eq (i32.load (i32.const 500)) (i32.const {turn})) (then unreachable))"
        );
        let outcome = alike(Text {
            after: trapping.leak(),
            close: "(i32.store (i32.const 500) (i32.const 5))
                    (call $result (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))",
            ..BLOCKS
        });
        assert_eq!(outcome.failure, Some(Failure::Trap(String::new())));
    }
}

/// Asserts that the blocks are not closed, because of an earlier trap.
fn not_closed(outcome: &Outcome) {
    let is_closed = |step: &Step| matches!(step, Step::Closed(_));
    assert!(!outcome.steps.iter().any(is_closed), "{outcome:?}");
}

#[test]
fn nothing_is_called_after_a_trap_whatever_it_was_about() {
    // More than the budget of a request.
    let grow = "(drop (memory.grow (i32.const 8000))) unreachable";
    let outcome = alike(Text {
        next: grow,
        ..BLOCKS
    });
    assert!(matches!(outcome.failure, Some(Failure::Memory(_))));
    not_closed(&outcome);
    // It grows by less after that, as for a message: then an abort is caused by the denial, and
    // another trap is not.
    let grown = |trap: &str| {
        let next = format!(
            "(drop (memory.grow (i32.const 8000))) (drop (memory.grow (i32.const 1))) {trap}"
        );
        let outcome = alike(Text {
            next: next.leak(),
            ..BLOCKS
        });
        not_closed(&outcome);
        outcome.failure
    };
    assert!(matches!(grown("unreachable"), Some(Failure::Memory(_))));
    let other = grown("(drop (i32.div_u (i32.const 1) (i32.const 0))) unreachable");
    assert!(matches!(other, Some(Failure::Trap(_))), "{other:?}");
    // Memory was refused, and then a value is invalid.
    let outcome = alike(Text {
        next: "(drop (memory.grow (i32.const 8000)))
               (call $result (i32.const 7) (i32.const 0) (i32.const 0) (i32.const 0))",
        ..BLOCKS
    });
    assert!(matches!(outcome.failure, Some(Failure::Memory(_))));
    not_closed(&outcome);
    for next in [
        "unreachable",
        "(call $panicked (i32.const 360) (i32.const 4) (i32.const 368) (i32.const 7)
           (i32.const 376) (i32.const 10)) unreachable",
        // An invalid value, and one that is out of bounds.
        "(call $result (i32.const 7) (i32.const 0) (i32.const 0) (i32.const 0))",
        "(call $result (i32.const 0) (i32.const 1) (i32.const 65536) (i32.const 1))",
        // An error of the host itself.
        "(call $drop-environ (i32.const 9)) unreachable",
    ] {
        let outcome = alike(Text { next, ..BLOCKS });
        assert!(outcome.failure.is_some());
        not_closed(&outcome);
    }
}

#[test]
fn a_result_is_there_in_the_order_of_the_canonical_abi() {
    // The allocator reads the place of the result, and the earlier allocations.
    let looks = "(call $note (i32.load (i32.const 64))) (call $note (i32.load (i32.const 68)))
                 (call $note (i32.load (i32.const 4096))) (call $note (i32.load (i32.const 4100)))
                 (call $note (i32.load (i32.const 4104))) (call $allocate)";
    let clear =
        "(i32.store (i32.const 64) (i32.const -1)) (i32.store (i32.const 68) (i32.const -1)) ";
    for call in [
        "(call $variables (local.get 0) (i32.const 64))",
        "(call $get (local.get 0) (i32.const 320) (i32.const 14) (i32.const 64))",
        "(call $read (local.get 0) (i64.const 3) (i32.const 64))",
        "(call $start (local.get 1) (i32.const 344) (i32.const 10) (i32.const 0) (i32.const 0)
           (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
           (i32.const 0) (i32.const 64))",
    ] {
        let call = format!("{clear} {call} (call $ok (local.get 1)) (call $whole)");
        for realloc in [
            looks,
            // All allocations at the same address, or in the result.
            "(call $note (i32.load (i32.const 64))) (i32.const 4096)",
            "(call $note (i32.load (i32.const 64))) (i32.const 64)",
            "(call $note (i32.load (i32.const 64))) (i32.const 68)",
        ] {
            alike(Text {
                realloc,
                call: call.clone().leak(),
                ..TEXT
            });
        }
    }
}

/// Creates `count` blocks.
fn make(count: usize) -> String {
    format!(
        "(i32.store (i32.const 600) (i32.const {count}))
         (loop $again
           (drop (call $new (i32.const 1)))
           (i32.store (i32.const 600) (i32.sub (i32.load (i32.const 600)) (i32.const 1)))
           (br_if $again (i32.load (i32.const 600))))"
    )
}

#[test]
fn handles_are_counted_alike() {
    let answers = "(call $ok (local.get 1)) (call $whole)";
    // An environ and a start-response exist; the host borrows one more during a call.
    let fits = HANDLES - 3;
    for (count, then, is_trap) in [
        (fits, answers, false),
        (fits + 1, answers, true),
        (
            fits + 1,
            "(call $drop (i32.const 3)) (call $ok (local.get 1)) (call $whole)",
            false,
        ),
        (fits + 2, "unreachable", true),
    ] {
        let outcome = alike(Text {
            call: format!("{} {then}", make(count)).leak(),
            ..TEXT
        });
        assert_eq!(outcome.failure.is_some(), is_trap, "{count} {then}");
    }
    // The host owns the blocks and lends them to the application.
    for (count, is_trap) in [(HANDLES - 4, false), (HANDLES - 3, true)] {
        let made = "(i32.store (i32.const 500) (i32.const 9))
             (call $result (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))";
        let outcome = alike(Text {
            next: format!("{} {made}", make(count)).leak(),
            ..BLOCKS
        });
        assert_eq!(outcome.failure.is_some(), is_trap, "{count}");
    }
}

#[test]
fn handles_that_blocks_leave_are_counted_alike() {
    let text = Text {
        call:
            "(drop (call $new (i32.const 1))) (call $ok (local.get 1))
               (call $result (i32.const 0) (i32.const 1) (call $new (i32.const 500)) (i32.const 0))",
        ..BLOCKS
    };
    let programs = both(&text.binary());
    for turn in 0..40 {
        let [direct, component] = programs
            .each_ref()
            .map(|program| answer(program, INPUT, 100));
        assert_eq!(direct, component, "{turn}");
    }
}

#[test]
fn a_list_counts_with_what_its_entries_take_on_the_host() {
    // 2.8 million empty fields: 45 MB of guest memory, 134 MB of host memory.
    traps(Text {
        call: "(drop (memory.grow (i32.const 1000)))
               (call $start (local.get 1) (i32.const 256) (i32.const 6)
                 (i32.const 65536) (i32.const 2800000) (i32.const 0)
                 (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                 (i32.const 0) (i32.const 64))
               (call $ok (local.get 1)) (call $whole)",
        ..TEXT
    });
}
