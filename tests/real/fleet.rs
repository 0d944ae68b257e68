//! From a deploy event to the first probe of what it deployed, as a real collector receives it: two
//! traces, and a link from the second to the first.

use cachetscope::clock::Clock;
use cachetscope::demo::{Kind, StandIn};
use cachetscope::model::{CiResult, Deploy, Event, Flavour, Version};
use cachetscope::otlp::{Resource, names};
use cachetscope::publisher::facts_of_event;
use cachetscope::store::Store;

use crate::parts::collector::{Collector, Received};
use crate::parts::daemon::Place;
use crate::parts::eventually;

const SUITE: &str = "suite: each\napplies_to: \"*\"\nschedule: \"@every 1s\"\n\
                     requests: [{ name: ping, get: /api/ping, expect: { status: 200 } }]\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_probe_of_a_deployment_links_to_its_deploy() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    place.write("fleet.yaml", "discover: { deploy_events: { allow_hosts: [127.0.0.1] } }\n");
    place.write("each.yaml", SUITE);
    let stand_in =
        StandIn::start(Kind::new(Version::parse("3.0.0").unwrap(), Flavour::Postgresql)).await.unwrap();

    let clock = Clock::system();
    std::fs::create_dir_all(dir.path().join("state")).unwrap();
    let store = Store::open(&place.location(), &clock).await.unwrap();
    let mut event = Event::new("jenkins", "deploy-cachet", "17");
    event.step = Some("deploy".to_owned());
    event.version = Version::parse("3.0.0");
    event.db = Some(Flavour::Postgresql);
    event.deploy = Some(Deploy { url: Some(stand_in.url()), ..Deploy::default() });
    event.finished = Some(clock.now());
    event.result = Some(CiResult::Success);
    let (trace, span) = (event.trace().to_string(), event.span().to_string());
    let resource = Resource::new(store.id(), None, None).unwrap();
    let facts = facts_of_event(event, clock.now(), &[], &resource).unwrap();
    store.record(vec![facts]).await.unwrap();
    store.close().await;

    let mut collector = Collector::start(dir.path()).await;
    let daemon = place.start(&collector.http_url(), "http/protobuf");
    let says = |received: &Received| {
        let mut points = received.points.iter().filter(|point| point.metric == names::TARGET_INFO.name);
        points.any(|p| p.attributes.get(names::REPORTED_VERSION).is_some_and(|version| version == "3.x-dev"))
    };
    eventually("the first probe, and what the deployment says it is", async || {
        let received = collector.received();
        let probed = received.spans.iter().any(|span| span.name == "probe each");
        (probed && says(&received)).then_some(())
    })
    .await;
    assert!(daemon.stop());
    collector.stop().await;
    let received = collector.received();
    let deploy = received.spans.iter().find(|s| s.id == span).expect("the deploy is a span");
    assert_eq!(deploy.trace, trace);
    let runs: Vec<_> = received.spans.iter().filter(|span| span.name == "probe each").collect();
    assert!(runs[0].start >= deploy.end, "the probe follows the deploy");
    for run in runs {
        assert_eq!(run.links, [(trace.clone(), span.clone())]);
        assert_ne!(run.trace, trace, "a run is a trace of its own");
    }
    stand_in.shutdown().await;
}
