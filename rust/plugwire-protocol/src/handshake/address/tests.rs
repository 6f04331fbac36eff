use std::net::SocketAddr;

use super::{AddressError, Network, SOCKET_PATH_LIMIT, tcp_address};

#[track_caller]
fn reaches(address: &str, expected: &str) {
    let expected: SocketAddr = expected.parse().expect("the expectation is an address");
    assert_eq!(tcp_address(address), Ok(expected), "{address}");
}

#[track_caller]
fn is_malformed(address: &str) {
    assert_eq!(
        tcp_address(address),
        Err(AddressError::NotHostAndPort { address: address.to_owned() })
    );
}

#[test]
fn names_of_networks_are_case_sensitive() {
    assert_eq!(Network::from_name("unix"), Some(Network::Unix));
    assert_eq!(Network::from_name("tcp"), Some(Network::Tcp));
    for other in ["Unix", "TCP", "tcp4", "udp", "unixgram", ""] {
        assert_eq!(Network::from_name(other), None, "{other}");
    }
}

#[test]
fn numeric_tcp_addresses_are_taken_as_they_are() {
    reaches("127.0.0.1:1234", "127.0.0.1:1234");
    reaches("10.0.0.7:65535", "10.0.0.7:65535");
    reaches("[::1]:1234", "[::1]:1234");
    reaches("[127.0.0.1]:1234", "127.0.0.1:1234");
    reaches("127.0.0.1:+80", "127.0.0.1:80");
}

#[test]
fn addresses_without_a_host_mean_this_machine() {
    reaches(":1234", "127.0.0.1:1234");
    reaches("localhost:1234", "127.0.0.1:1234");
    reaches("0.0.0.0:1234", "127.0.0.1:1234");
    reaches("[::]:1234", "127.0.0.1:1234");
}

#[test]
fn host_names_are_an_error_of_their_own() {
    for address in ["example.com:80", "127.0.0.01:80", "localhost.:80"] {
        assert_eq!(
            tcp_address(address),
            Err(AddressError::HostName { address: address.to_owned() })
        );
    }
}

#[test]
fn what_is_no_host_and_port_is_refused() {
    for address in [
        "",
        "1234",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:http",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "::1:1234",
        "[::1]",
        "[::1:1234",
        "a:b:80",
    ] {
        is_malformed(address);
    }
}

#[test]
fn a_socket_path_must_fit() {
    let longest = "/".repeat(SOCKET_PATH_LIMIT);
    assert_eq!(Network::Unix.check(&longest), Ok(()));
    let path = format!("{longest}/");
    let length = SOCKET_PATH_LIMIT + 1;
    let limit = SOCKET_PATH_LIMIT;
    assert_eq!(Network::Unix.check(&path), Err(AddressError::PathTooLong { path, length, limit }));
    assert_eq!(Network::Unix.check(""), Err(AddressError::PathEmpty));
}

#[test]
fn the_limit_counts_bytes_and_not_characters() {
    let path = "ä".repeat(60);
    assert!(matches!(
        Network::Unix.check(&path),
        Err(AddressError::PathTooLong { length: 120, .. })
    ));
}

#[test]
fn each_network_has_its_own_rules() {
    assert_eq!(Network::Unix.check("relative"), Ok(()));
    assert!(Network::Tcp.check("relative").is_err());
}
