//! Checks promises about time on busy machines.

/// Tries up to ten times whether a promise is kept. A busy machine may break it now and then;
/// broken code breaks it every time. Assert inside `promise` whatever does not depend on time.
pub async fn kept(mut promise: impl AsyncFnMut() -> Result<(), String>) {
    for attempt in 1.. {
        match promise().await {
            Ok(()) => return,
            Err(why) if attempt < 10 => println!("attempt {attempt} failed: {why}"),
            Err(why) => panic!("{why}"),
        }
    }
}
