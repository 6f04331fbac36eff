//! **Promise: young.** The conformance suite.
