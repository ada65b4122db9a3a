//! Which of many short operations are measured: reading the clock twice would cost each request
//! half a percent of its instructions.

use std::cell::Cell;

use super::shard::is_on;

/// One in this many operations of a thread is measured, and stands for all of them.
pub(crate) const SAMPLED: u32 = 16;

thread_local! {
    static COUNT: Cell<u32> = const { Cell::new(0) };
}

/// Returns whether to measure an operation: the thread's first, and then one in [`SAMPLED`]. False
/// if the process doesn't count.
#[inline]
pub(crate) fn is_sampled() -> bool {
    is_on()
        && COUNT.with(|count| {
            let number = count.get();
            count.set(number.wrapping_add(1));
            number.is_multiple_of(SAMPLED)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_operation_of_a_thread_is_sampled_and_then_one_in_so_many() {
        let sampled = std::thread::spawn(|| (0..3 * SAMPLED).map(|_| is_sampled()));
        let sampled: Vec<bool> = sampled.join().expect("no panic").collect();
        assert!(sampled[0]);
        let count = sampled.iter().filter(|is_sampled| **is_sampled).count();
        assert_eq!(count, 3);
    }
}
