//! plugwire.
