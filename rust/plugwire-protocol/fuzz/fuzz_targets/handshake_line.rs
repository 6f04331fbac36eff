#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| plugwire_protocol_fuzz::handshake_line(data));
