//! What real Go peers prove.

mod pairing;
