//! Which certificate the plugin has to show, after what its line announced (spec, chapter 6).

use plugwire_conformance_wire::identity::is_certificate;
use plugwire_conformance_wire::tls::Expect;
use time::OffsetDateTime;
use time::macros::format_description;

use super::failure::Failure;
use super::flaw::Flaw;
use super::task::Tls;
use super::{DEAD, Settings};

/// The object identifier of the curve P-521, as it appears in a certificate with such a key.
const P521: [u8; 7] = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];
/// The head of a point in time, `YYMMDDhhmmssZ`.
const UTC_TIME: [u8; 2] = [0x17, 13];

/// Decides on the sixth field; an error in there is one that could not be read. None is plaintext.
pub(super) fn expected(
    settings: &Settings,
    announced: Result<Option<Vec<u8>>, String>,
) -> Result<Option<Expect>, Failure> {
    let wanted = settings.plugin.tls == Tls::Mutual;
    let readable = announced.and_then(|der| match der {
        Some(der) if !is_certificate(&der) => Err("the sixth field is no certificate".to_owned()),
        der => Ok(der),
    });
    let der = match readable {
        Ok(der) => der,
        Err(_) if wanted && settings.has(Flaw::IgnoresBadCertificates) => {
            return Ok(Some(Expect::Any));
        }
        Err(why) => return Err(Failure::new("start.certificate", why)),
    };
    match (wanted, der) {
        (true, Some(der)) => mutual(settings, der).map(Some),
        (false, None) => Ok(None),
        (true, None) if settings.has(Flaw::FallsBackToPlaintext) => Ok(None),
        (true, None) => {
            Err(Failure::new("start.no-certificate", "the plugin announces no certificate"))
        }
        (false, Some(_)) if settings.has(Flaw::DiesOfAnUnaskedCertificate) => {
            std::process::exit(DEAD)
        }
        (false, Some(_)) => Err(Failure::new(
            "start.unexpected-certificate",
            "the plugin announces a certificate that was not requested",
        )),
    }
}

fn mutual(settings: &Settings, der: Vec<u8>) -> Result<Expect, Failure> {
    let refused = |why: &str| Err(Failure::new("start.certificate", why));
    let has_p521 = der.windows(P521.len()).any(|part| part == P521);
    match settings.flaw {
        Some(Flaw::KnowsNoP521) if has_p521 => refused("the plugin's key is on P-521"),
        Some(Flaw::ReadsCertificateDates) if has_expired(&der) => {
            refused("the plugin's certificate has expired")
        }
        Some(Flaw::TakesAnyCertificate) => Ok(Expect::Any),
        Some(Flaw::VerifiesNoSignature) => Ok(Expect::Unproved(der)),
        _ => Ok(Expect::Exactly(der)),
    }
}

/// Returns whether the second of the certificate's two times has passed.
fn has_expired(der: &[u8]) -> bool {
    let mut times = der.windows(15).filter(|part| part.starts_with(&UTC_TIME));
    let format = format_description!("[year repr:last_two][month][day][hour][minute][second]Z");
    let now = OffsetDateTime::now_utc().format(format).unwrap_or_default();
    times.nth(1).is_some_and(|end| end[2..] < *now.as_bytes())
}
