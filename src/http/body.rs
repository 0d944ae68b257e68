//! Undoing the content codings of a body (RFC 9110 §8.4), never beyond the cap.

use std::io::Read;

use bytes::Bytes;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use hyper::HeaderMap;
use hyper::header::CONTENT_ENCODING;

use super::Failure;
use crate::model::ErrorType;

/// A body as the caller wants it.
#[derive(Debug)]
pub(super) struct Decoded {
    pub body: Bytes,
    /// It went on beyond the cap.
    pub truncated: bool,
    /// It could not be decoded; `body` is what came out before, or what came in.
    pub failure: Option<Failure>,
}

/// Decodes at most `max` bytes. A body that is not `complete` gives what can be had of it.
pub(super) fn decode(headers: &HeaderMap, wire: Vec<u8>, max: usize, complete: bool) -> Decoded {
    let unreadable = |body: Vec<u8>, detail: &str| Decoded {
        body: body.into(),
        truncated: false,
        failure: Some(Failure::new(ErrorType::Protocol, detail)),
    };
    let mut codings = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .flat_map(|v| v.to_str().unwrap_or("?").split(','))
        .map(|coding| coding.trim().to_ascii_lowercase())
        .filter(|coding| !coding.is_empty() && coding != "identity");
    let (coding, further) = (codings.next(), codings.next());
    if wire.is_empty() || coding.is_none() {
        return Decoded { body: wire.into(), truncated: false, failure: None };
    }
    if further.is_some() {
        return unreadable(wire, "the body was encoded more than once; gzip or deflate once can be read");
    }
    let mut out = Vec::new();
    let limit = (max as u64).saturating_add(1);
    let (name, result) = match coding.as_deref().unwrap_or_default() {
        "gzip" | "x-gzip" => ("gzip", MultiGzDecoder::new(wire.as_slice()).take(limit).read_to_end(&mut out)),
        // Some send the bare stream of RFC 1951 where RFC 9110 §8.4.1.2 wants it wrapped by RFC 1950.
        "deflate" if is_zlib(&wire) => {
            ("deflate", ZlibDecoder::new(wire.as_slice()).take(limit).read_to_end(&mut out))
        }
        "deflate" => ("deflate", DeflateDecoder::new(wire.as_slice()).take(limit).read_to_end(&mut out)),
        // The name comes from the peer and is shown only where it cannot hold anything else.
        other => {
            let known = ["br", "zstd", "compress", "x-compress", "dcb", "dcz"];
            let name = known.into_iter().find(|k| *k == other).unwrap_or("something unknown");
            return unreadable(
                wire,
                &format!("the body is encoded as {name}; only gzip and deflate can be read"),
            );
        }
    };
    let truncated = out.len() > max;
    out.truncate(max);
    match result {
        Err(e) if complete && !truncated => unreadable(out, &format!("the body is not valid {name}: {e}")),
        _ => Decoded { body: out.into(), truncated, failure: None },
    }
}

/// The two-byte header of RFC 1950 §2.2.
fn is_zlib(wire: &[u8]) -> bool {
    match wire {
        [cmf, flg, ..] => cmf & 0x0f == 8 && u16::from_be_bytes([*cmf, *flg]) % 31 == 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use hyper::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn encoded_as(coding: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static(coding))])
    }

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn gzip_and_both_kinds_of_deflate_are_read() {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(b"plain words").unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::fast());
        raw.write_all(b"plain words").unwrap();
        let wires = [
            ("gzip", gzip(b"plain words")),
            ("X-GZIP", gzip(b"plain words")),
            ("deflate", zlib.finish().unwrap()),
            ("deflate", raw.finish().unwrap()),
            ("identity", b"plain words".to_vec()),
        ];
        for (coding, wire) in wires {
            let decoded = decode(&encoded_as(coding), wire, 100, true);
            assert_eq!((&decoded.body[..], decoded.truncated), (&b"plain words"[..], false), "{coding}");
            assert_eq!(decoded.failure, None);
        }
    }

    #[test]
    fn a_bomb_costs_the_cap() {
        let wire = gzip(&vec![0; 10_000_000]);
        assert!(wire.len() < 20_000);
        let decoded = decode(&encoded_as("gzip"), wire, 4_096, true);
        assert_eq!((decoded.body.len(), decoded.truncated), (4_096, true));
        assert_eq!(decoded.failure, None);
    }

    #[test]
    fn a_body_of_exactly_the_cap_is_whole() {
        let decoded = decode(&encoded_as("gzip"), gzip(&[b'x'; 64]), 64, true);
        assert_eq!((decoded.body.len(), decoded.truncated), (64, false));
    }

    #[test]
    fn what_cannot_be_decoded_says_so() {
        let detail = |coding, wire: &[u8]| {
            let failure = decode(&encoded_as(coding), wire.to_vec(), 100, true).failure.unwrap();
            assert_eq!(failure.kind, ErrorType::Protocol);
            failure.detail
        };
        assert_eq!(detail("br", b"?"), "the body is encoded as br; only gzip and deflate can be read");
        assert!(!detail("hunter2", b"?").contains("hunter2"));
        assert!(detail("gzip, gzip", b"?").contains("more than once"));
        assert!(detail("gzip", b"not gzip at all").starts_with("the body is not valid gzip: "));
    }

    #[test]
    fn the_start_of_a_cut_body_is_still_read() {
        let plain: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        let mut wire = gzip(&plain);
        wire.truncate(wire.len() / 2);
        let decoded = decode(&encoded_as("gzip"), wire, 1 << 20, false);
        assert_eq!(decoded.failure, None);
        assert!(decoded.body.len() > 1_000 && plain.starts_with(&decoded.body));
    }

    proptest! {
        #[test]
        fn no_input_panics_or_passes_the_cap(wire: Vec<u8>, complete: bool, max in 0usize..512) {
            for coding in ["gzip", "deflate"] {
                let decoded = decode(&encoded_as(coding), wire.clone(), max, complete);
                prop_assert!(decoded.body.len() <= max);
            }
        }
    }
}
