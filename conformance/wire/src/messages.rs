//! The messages, and their form as JSON in case files.
