//! Promises about time, on machines that have other things to do.

/// Tries at most three times whether a promise is kept: a busy machine may break it now and then, and broken code does each
/// time. What does not depend on time is asserted in `promise` itself.
pub async fn kept(mut promise: impl AsyncFnMut() -> Result<(), String>) {
    for chance in 1.. {
        match promise().await {
            Ok(()) => return,
            Err(why) if chance < 3 => println!("chance {chance}: {why}"),
            Err(why) => panic!("{why}"),
        }
    }
}
