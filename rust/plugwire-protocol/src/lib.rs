//! go-plugin's contract without I/O.
