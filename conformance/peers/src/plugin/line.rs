//! The handshake line according to the script.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use plugwire_conformance_wire::identity::Identity;
use plugwire_conformance_wire::socket::Address;

/// The values of a healthy line.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    /// The app protocol version.
    pub(super) version: u32,
    /// Where it listens.
    pub(super) address: &'a Address,
    /// Its certificate, where the host asked for one.
    pub(super) certificate: Option<&'a Identity>,
    /// A certificate in any case.
    pub(super) own: &'a Identity,
    /// The host asked whether it multiplexes.
    pub(super) multiplex: bool,
}

impl Facts<'_> {
    /// Fills in the placeholders `{…}` of a text. Unknown names stay unchanged.
    pub(super) fn fill(&self, template: &str) -> String {
        let mut out = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            out.push_str(before);
            let value = after.split_once('}').and_then(|(name, tail)| Some((self.of(name)?, tail)));
            match value {
                Some((value, tail)) => {
                    out.push_str(&value);
                    rest = tail;
                }
                None => {
                    out.push('{');
                    rest = after;
                }
            }
        }
        out + rest
    }

    fn of(&self, name: &str) -> Option<String> {
        let spelt = |how: fn(&Identity) -> String| self.certificate.map(how).unwrap_or_default();
        Some(match name {
            "core" => "1".to_owned(),
            "version" => self.version.to_string(),
            "network" => self.address.network().to_owned(),
            "address" => self.address.to_string(),
            "folder" => {
                let folder = self.address.path().and_then(|path| path.parent());
                folder.map(|folder| folder.display().to_string()).unwrap_or_default()
            }
            "protocol" => "grpc".to_owned(),
            "certificate" => spelt(Identity::field),
            "certificate-padded" => spelt(|identity| BASE64_STANDARD.encode(identity.der())),
            "certificate-url" => spelt(|identity| BASE64_URL_SAFE_NO_PAD.encode(identity.der())),
            "certificate-pem" => spelt(|identity| BASE64_STANDARD.encode(identity.pem())),
            "certificate-hex" => spelt(|identity| hex(identity.der())),
            "certificate-own" => self.own.field(),
            "mux" => if self.multiplex { "|true" } else { "" }.to_owned(),
            other => "x".repeat(other.strip_prefix("fill:")?.parse().ok()?),
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the bytes that a text in hexadecimal stands for; white space in it does not count.
pub(super) fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u32> = text
        .chars()
        .filter(|letter| !letter.is_whitespace())
        .map(|letter| letter.to_digit(16).ok_or_else(|| format!("{letter:?} is no digit")))
        .collect::<Result<_, _>>()?;
    if !digits.len().is_multiple_of(2) {
        return Err("an odd number of digits".to_owned());
    }
    Ok(digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(template: &str) -> String {
        let address = Address::Unix("/tmp/f/plugin1".into());
        let own = Identity::p521();
        Facts { version: 3, address: &address, certificate: None, own: &own, multiplex: true }
            .fill(template)
    }

    #[test]
    fn placeholders_are_filled_in_and_everything_else_stays() {
        let line = "{core}|{version}|{network}|{address}|{protocol}|{certificate}{mux}\n";
        assert_eq!(filled(line), "1|3|unix|/tmp/f/plugin1|grpc||true\n");
        assert_eq!(filled("{folder}/x {fill:3} {nothing} {"), "/tmp/f/x xxx {nothing} {");
    }

    #[test]
    fn hexadecimal_is_pairs_of_digits() {
        assert_eq!(unhex("00 fF"), Ok(vec![0, 255]));
        assert!(unhex("0").is_err() && unhex("zz").is_err());
    }
}
