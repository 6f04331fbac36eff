use proptest::prelude::*;

use super::{CertificateFieldError, PemError, decode_field, encode_field, from_pem, pem};

/// A DER SEQUENCE with this many bytes in it.
fn sequence(length: usize) -> Vec<u8> {
    let mut der = vec![0x30];
    match length {
        0..=0x7f => der.push(length as u8),
        0x80..=0xff => der.extend([0x81, length as u8]),
        _ => der.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    der.resize(der.len() + length, 0x5a);
    der
}

#[test]
fn the_field_is_unpadded_standard_base64() {
    // 30 02 FB FF: the last characters show the alphabet, the length the missing padding.
    let der = [0x30, 0x02, 0xfb, 0xff];
    assert_eq!(encode_field(&der), "MAL7/w");
    assert_eq!(decode_field("MAL7/w"), Ok(der.to_vec()));
}

#[test]
fn padding_is_refused_by_its_name() {
    assert_eq!(decode_field("MAL7/w=="), Err(CertificateFieldError::Padded));
}

#[test]
fn what_is_not_base64_is_refused_with_its_place() {
    let at = |offset| Err(CertificateFieldError::NotBase64 { offset });
    assert_eq!(decode_field("MAL7_w"), at(4), "the alphabet of URLs");
    assert_eq!(decode_field("MAL7 /w"), at(4), "a space");
    assert_eq!(decode_field("MA=7/w"), at(2), "padding in the middle");
    assert_eq!(decode_field("MAL7/"), at(5), "a length that base64 cannot have");
}

#[test]
fn base64_of_something_else_is_refused() {
    let refused = |bytes: &[u8]| {
        assert_eq!(
            decode_field(&encode_field(bytes)),
            Err(CertificateFieldError::NotACertificate { length: bytes.len() })
        );
    };
    refused(b"");
    refused(&[0x30]);
    refused(b"not a certificate at all");
    let mut other_tag = sequence(300);
    other_tag[0] = 0x31;
    refused(&other_tag);
}

#[test]
fn a_structure_must_be_whole_and_alone() {
    for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0x1234] {
        let der = sequence(length);
        assert_eq!(decode_field(&encode_field(&der)), Ok(der.clone()), "{length} bytes");
        let one_more = [der.as_slice(), b"x"].concat();
        assert!(decode_field(&encode_field(&one_more)).is_err(), "{length} bytes and one more");
        let one_less = &der[..der.len() - 1];
        assert!(decode_field(&encode_field(one_less)).is_err(), "{length} bytes but one");
    }
}

#[test]
fn absurd_lengths_are_refused() {
    for header in [&[0x30, 0x80][..], &[0x30, 0x85, 0, 0, 0, 0, 0], &[0x30, 0xff], &[0x30, 0x82, 0]]
    {
        assert!(decode_field(&encode_field(header)).is_err(), "{header:x?}");
    }
}

#[test]
fn pem_has_the_form_that_every_reader_knows() {
    let text = pem(&sequence(60));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.first(), Some(&"-----BEGIN CERTIFICATE-----"));
    assert_eq!(lines.last(), Some(&"-----END CERTIFICATE-----"));
    assert_eq!(lines[1].len(), 64);
    assert!(text.ends_with('\n'));
}

#[test]
fn pem_is_found_among_other_things() {
    let der = sequence(200);
    let text = format!("a comment\r\n{}trailing", pem(&der).replace('\n', "\r\n"));
    assert_eq!(from_pem(&text), Ok(der.clone()));

    let key = "-----BEGIN EC PRIVATE KEY-----\nMAA=\n-----END EC PRIVATE KEY-----\n";
    let second = pem(&sequence(3));
    assert_eq!(from_pem(&format!("{key}{}{second}", pem(&der))), Ok(der));
}

#[test]
fn pem_without_a_certificate_says_what_it_lacks() {
    assert_eq!(
        from_pem("nonsense\x07"),
        Err(PemError::NoCertificateBlock { text: "nonsense\\u{7}".to_owned() })
    );
    assert_eq!(from_pem("-----BEGIN CERTIFICATE-----\nMAA="), Err(PemError::Unterminated));
    let block =
        |body: &str| format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
    assert_eq!(from_pem(&block("MA*=")), Err(PemError::NotBase64 { offset: 2 }));
    assert_eq!(from_pem(&block("")), Err(PemError::NotACertificate { length: 0 }));
    assert_eq!(from_pem(&block("aGVsbG8=")), Err(PemError::NotACertificate { length: 5 }));
}

proptest! {
    #[test]
    fn what_is_encoded_decodes(length in 0_usize..2_000) {
        let der = sequence(length);
        prop_assert_eq!(decode_field(&encode_field(&der)), Ok(der.clone()));
        prop_assert_eq!(from_pem(&pem(&der)), Ok(der));
    }
}
