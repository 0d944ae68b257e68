//! What an engine tells, and what becomes of it.

use super::*;

/// What Docker 20.10 answered about five containers of one image, whose tag had moved on.
const RECORDED: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/docker-containers.json"));
const IMAGE: &str = "sha256:e9195ec2b7350c4f38924d0ffe4dcb5ef66a107dd9bb301575b30545f1a75332";

fn engine(network: Option<&str>) -> Engine {
    let (host, prefix) = ("127.0.0.1".to_owned(), "cachetscope.".to_owned());
    Engine { host, prefix, network: network.map(str::to_owned) }
}

fn shown(look: &Look) -> Vec<String> {
    let line = |d: &Deployment| format!("{} {} {} {} {}", d.name, d.version, d.db, d.url, d.host_group);
    let mut lines: Vec<String> = look.deployments.iter().map(line).collect();
    lines.sort();
    lines
}

/// What one container becomes, as the API tells of it.
fn one(container: serde_json::Value) -> Result<String, Vec<String>> {
    let engine = engine(None);
    let ours = engine.ours(serde_json::json!([container]).to_string().as_bytes()).unwrap();
    let look = engine.judge(&ours);
    if look.deployments.is_empty() { Err(look.notices) } else { Ok(shown(&look).remove(0)) }
}

#[test]
fn what_a_real_engine_told_is_understood() {
    let engine = engine(None);
    let mut ours = engine.ours(RECORDED.as_bytes()).unwrap();
    let unnamed: Vec<String> = ours
        .iter()
        .filter(|(container, labels)| container.needs_image(labels))
        .map(|(container, _)| container.name().to_owned())
        .collect();
    assert_eq!(unnamed, ["hosted", "both", "published"], "one has a label `version`, one no label at all");
    for (container, labels) in &mut ours {
        if container.needs_image(labels) {
            container.take_image(br#"{"Config":{"Image":"registry:5000/shop/cachet:2.4.1"}}"#);
        }
    }
    let look = engine.judge(&ours);
    assert_eq!(
        shown(&look),
        [
            "both 2.4.1 sqlite http://172.18.0.3:8000/ 127.0.0.1",
            "hosted 2.4.1 sqlite http://127.0.0.1:8000/ 127.0.0.1",
            "inside 2.5.0 sqlite http://172.18.0.2:8000/ 127.0.0.1",
            "published 2.4.1 mysql http://127.0.0.1:18101/ 127.0.0.1",
        ]
    );
    assert!(look.notices.is_empty(), "{:?}", look.notices);
    assert!(look.deployments.iter().all(|d| d.digest.as_deref() == Some(IMAGE) && d.token.is_none()));
}

#[test]
fn a_network_that_is_named_is_where_containers_are_asked() {
    let engine = engine(Some("shop"));
    let mut ours = engine.ours(RECORDED.as_bytes()).unwrap();
    ours.iter_mut().for_each(|(container, _)| container.image = "cachet:2.4.1".to_owned());
    let look = engine.judge(&ours);
    assert!(shown(&look).contains(&"published 2.4.1 mysql http://172.18.0.4:8000/ 127.0.0.1".to_owned()));
    let wrong = "container `hosted` is not probed: it has no address on the network `shop`; it is on `host`";
    assert_eq!(look.notices, [wrong]);
}

#[test]
fn what_is_not_clear_is_asked_for() {
    type Labelled = &'static [(&'static str, &'static str)];
    let labels = |more: Labelled| {
        let usual = [("cachetscope.db", "mysql"), ("cachetscope.version", "2.4.1")];
        BTreeMap::from_iter(usual.into_iter().chain(more.iter().copied()))
    };
    let ports = serde_json::json!([
        {"PrivatePort": 8000, "PublicPort": 18000, "IP": "10.0.0.1", "Type": "tcp"},
        {"PrivatePort": 8000, "PublicPort": 18000, "IP": "fd00::1", "Type": "tcp"},
        {"PrivatePort": 9000, "Type": "tcp"},
        {"PrivatePort": 53, "PublicPort": 53, "IP": "0.0.0.0", "Type": "udp"}
    ]);
    let container = |more: Labelled, ports: &serde_json::Value, networks: serde_json::Value| {
        serde_json::json!({
            "Id": "1", "Names": ["/other/alias", "/a"], "Image": "cachet", "ImageID": IMAGE,
            "Labels": labels(more), "Ports": ports, "NetworkSettings": {"Networks": networks}
        })
    };
    let two = serde_json::json!({"x": {"IPAddress": "10.1.0.2"}, "y": {"GlobalIPv6Address": "fd00::2"}});
    assert_eq!(
        one(container(&[], &ports, two.clone())).unwrap(),
        "a 2.4.1 mysql http://10.0.0.1:18000/ 127.0.0.1"
    );
    let of = |more: Labelled, ports: &serde_json::Value| one(container(more, ports, two.clone()));
    let url = "a 2.4.1 mysql http://[fd00::2]:9000/ 127.0.0.1";
    assert_eq!(of(&[("cachetscope.port", "9000"), ("cachetscope.network", "y")], &ports).unwrap(), url);
    let url = "a 2.4.1 mysql https://cachet.example/x 127.0.0.1";
    assert_eq!(of(&[("cachetscope.url", "https://cachet.example/x")], &ports).unwrap(), url);

    let refused = |more: Labelled, ports: serde_json::Value| of(more, &ports).unwrap_err().join(" | ");
    let wrong = "container `a` is not probed: ";
    let port = |n: u16| serde_json::json!({"PrivatePort": n, "Type": "tcp"});
    assert_eq!(
        refused(&[("cachetscope.port", "9000")], ports.clone()),
        format!(
            "{wrong}its port 9000 is not published, and it is on `x`, `y`; say which with the label `cachetscope.network`"
        )
    );
    assert_eq!(
        refused(&[("cachetscope.port", "http")], ports.clone()),
        format!("{wrong}label `cachetscope.port`: expected a port from 1 to 65535, found `http`")
    );
    assert_eq!(
        refused(&[], serde_json::Value::Null),
        format!("{wrong}it exposes no port; say which with the label `cachetscope.port`")
    );
    assert_eq!(
        refused(&[], serde_json::json!([port(80), port(443)])),
        format!("{wrong}it has the ports 80, 443; say which with the label `cachetscope.port`")
    );
    let one_port = serde_json::json!([port(80)]);
    let stopped = serde_json::json!({"x": {"IPAddress": ""}});
    assert_eq!(
        one(container(&[], &one_port, stopped)).unwrap_err(),
        [format!("{wrong}its port 80 is not published, and it has no address")]
    );
}

#[test]
fn what_restarts_is_there_without_an_address() {
    let labels = serde_json::json!({"cachetscope.db": "mysql"});
    let container = serde_json::json!([{"Names": ["/a_b"], "State": "restarting", "Labels": labels}]);
    let engine = engine(None);
    let look = engine.judge(&engine.ours(container.to_string().as_bytes()).unwrap());
    assert_eq!((look.restarting, look.notices), (vec!["a_b".to_owned()], Vec::new()));
    assert!(look.deployments.is_empty());
}

#[test]
fn what_is_no_list_or_too_long_is_refused() {
    let engine = engine(None);
    let error = engine.ours(b"{\"message\":\"no\"}").unwrap_err();
    assert!(error.starts_with("the answer is no list of containers: invalid type: map"), "{error}");
    let one = serde_json::json!({"Labels": {"cachetscope.db": "mysql"}});
    let many = serde_json::Value::Array(vec![one; TARGETS_MAX + 1]).to_string();
    assert_eq!(
        engine.ours(many.as_bytes()).unwrap_err(),
        "1001 containers carry labels; expected at most 1000"
    );
}

#[test]
fn a_tag_stands_behind_the_last_slash_and_before_a_digest() {
    let tag = |image: &str| {
        let container: Container = serde_json::from_value(serde_json::json!({"Image": image})).unwrap();
        container.tag().map(str::to_owned)
    };
    assert_eq!(tag("registry:5000/shop/cachet:2.4.1@sha256:abc").as_deref(), Some("2.4.1"));
    assert_eq!(tag("cachet:latest").as_deref(), Some("latest"));
    for image in ["registry:5000/cachet", "cachet", "sha256:abc", "cachet@sha256:abc", ""] {
        assert_eq!(tag(image), None, "{image}");
    }
}
