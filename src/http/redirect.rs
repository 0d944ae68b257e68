//! Where a 3xx answer leads, and how the request changes on the way (RFC 9110 §15.4).

use hyper::HeaderMap;
use hyper::header::LOCATION;
use url::Url;

use super::Failure;
use crate::model::{ErrorType, Method};

/// The URL a redirect leads to; `None` when the status is no redirect.
///
/// # Errors
/// When it leads nowhere, or to another scheme, host or port: credentials must not travel there,
/// and its times would say nothing about the deployment.
pub(super) fn target(from: &Url, status: Option<u16>, headers: &HeaderMap) -> Result<Option<Url>, Failure> {
    if !matches!(status, Some(301 | 302 | 303 | 307 | 308)) {
        return Ok(None);
    }
    let refused = |detail: String| Failure::new(ErrorType::Redirect, detail);
    let location = headers.get(LOCATION).and_then(|v| std::str::from_utf8(v.as_bytes()).ok());
    let location = location.ok_or_else(|| refused("the redirect names no location".to_owned()))?;
    let mut to = from
        .join(location)
        .map_err(|e| refused(format!("the location of the redirect is not a URL: {e}")))?;
    if to.origin() != from.origin() {
        let (to, from) = (to.origin().ascii_serialization(), from.origin().ascii_serialization());
        return Err(refused(format!("the redirect leads to {to}; only those within {from} are followed")));
    }
    to.set_fragment(None);
    Ok(Some(to))
}

/// The method to go on with; one that changes to GET goes without its body.
pub(super) fn method_after(status: Option<u16>, method: Method) -> Method {
    match (status, method) {
        (Some(303), Method::Head) => Method::Head,
        (Some(303), _) | (Some(301 | 302), Method::Post) => Method::Get,
        _ => method,
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn follow(location: &str) -> Result<Option<String>, String> {
        let from = Url::parse("http://a.example/one/two?q=1").unwrap();
        let headers = HeaderMap::from_iter([(LOCATION, HeaderValue::from_str(location).unwrap())]);
        let found = target(&from, Some(302), &headers);
        found.map(|to| to.map(String::from)).map_err(|f| f.detail)
    }

    #[test]
    fn locations_are_read_relative_to_the_request() {
        assert_eq!(follow("three"), Ok(Some("http://a.example/one/three".to_owned())));
        assert_eq!(follow("/x?y#z"), Ok(Some("http://a.example/x?y".to_owned())));
        assert_eq!(follow("//a.example:80/x"), Ok(Some("http://a.example/x".to_owned())));
    }

    #[test]
    fn another_origin_is_refused_without_its_query() {
        for location in
            ["https://a.example/", "http://b.example/?token=s3cret", "http://u:s3cret@a.example:81/"]
        {
            let detail = follow(location).unwrap_err();
            assert!(detail.contains("only those within http://a.example are followed"), "{detail}");
            assert!(!detail.contains("s3cret"), "{detail}");
        }
        assert!(follow("data:text/plain,x").is_err());
    }

    #[test]
    fn only_a_redirect_needs_a_location() {
        let from = Url::parse("http://a.example/").unwrap();
        for status in [None, Some(200), Some(300), Some(304)] {
            assert_eq!(target(&from, status, &HeaderMap::new()), Ok(None));
        }
        assert!(target(&from, Some(301), &HeaderMap::new()).is_err());
    }

    #[test]
    fn methods_change_as_rfc_9110_says() {
        assert_eq!(method_after(Some(302), Method::Post), Method::Get);
        assert_eq!(method_after(Some(301), Method::Put), Method::Put);
        assert_eq!(method_after(Some(303), Method::Put), Method::Get);
        assert_eq!(method_after(Some(303), Method::Head), Method::Head);
        assert_eq!(method_after(Some(307), Method::Post), Method::Post);
    }
}
