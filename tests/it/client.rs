//! The client against a daemon in every mood: nothing is lost, nothing waits for long.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cachetscope::client::{Client, Delivery, FILES_MAX};
use cachetscope::clock::{Clock, Timestamp};
use cachetscope::model::{CiResult, Event, Secret};

use crate::events_api::{EventsApi, Habit};
use crate::rig::until;

/// Nothing listens there.
const NOBODY: &str = "http://127.0.0.1:1";

struct Desk {
    folder: tempfile::TempDir,
    clock: Clock,
}

impl Desk {
    fn new() -> Self {
        Desk {
            folder: tempfile::tempdir().unwrap(),
            clock: Clock::manual(Timestamp(1_795_000_000_000_000_000)),
        }
    }

    fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    fn client(&self, url: &str) -> Client {
        self.with_token(url, None)
    }

    fn with_token(&self, url: &str, token: Option<&str>) -> Client {
        let url = url.parse().unwrap();
        Client::new(&url, token.map(Secret::new), &self.spool(), self.clock.clone()).unwrap()
    }

    /// An event that has ended, one second after the one before.
    fn event(&self, step: &str) -> Event {
        self.clock.advance(Duration::from_secs(1));
        Event {
            step: Some(step.to_owned()),
            finished: Some(self.clock.now()),
            result: Some(CiResult::Success),
            ..Event::new("test", "client", "1")
        }
    }

    async fn spooled(&self, steps: &[&str]) {
        for step in steps {
            let report = self.client(NOBODY).deliver(&[self.event(step)]).await;
            assert!(matches!(report.delivery, Delivery::Spooled { .. }), "{report:?}");
        }
    }

    fn files(&self) -> Vec<String> {
        names(&self.spool())
    }

    fn refused(&self) -> Vec<String> {
        names(&self.spool().join("refused"))
    }
}

/// The events in a folder.
fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".json.gz")).collect();
    names.sort();
    names
}

fn delivered(api: &EventsApi) -> Delivery {
    Delivery::Delivered { place: api.url.clone() }
}

#[tokio::test]
async fn an_event_arrives_whole_and_leaves_nothing_behind() {
    let (desk, api) = (Desk::new(), EventsApi::start().await);
    let event = desk.event("a");
    let report = desk.with_token(&api.url, Some("hunter2\n")).deliver(std::slice::from_ref(&event)).await;
    assert_eq!((&report.delivery, report.earlier, report.notes.len()), (&delivered(&api), 0, 0));
    assert_eq!(serde_json::from_value::<Event>(api.seen().events[0].clone()).unwrap(), event);
    assert_eq!(api.seen().tokens, [Some("Bearer hunter2".to_owned())]);
    assert_eq!((desk.files(), desk.refused()), (vec![], vec![]));
}

#[tokio::test]
async fn what_waits_is_delivered_oldest_first_by_the_next_call() {
    let desk = Desk::new();
    desk.spooled(&["a", "b"]).await;
    let report = desk.client(NOBODY).deliver(&[desk.event("c")]).await;
    let Delivery::Spooled { reason, waiting, folder } = report.delivery else { panic!("{report:?}") };
    assert_eq!((waiting, folder), (3, desk.spool()));
    assert!(
        reason.starts_with("no answer from http://127.0.0.1:1: ") && reason.contains("refused"),
        "{reason}"
    );

    let api = EventsApi::start().await;
    let report = desk.client(&api.url).deliver(&[desk.event("d")]).await;
    assert_eq!((report.delivery, report.earlier), (delivered(&api), 3));
    assert_eq!(api.steps(), ["a", "b", "c", "d"]);
    assert_eq!(api.seen().requests, [4]);
    assert_eq!(desk.files(), [""; 0]);
}

#[tokio::test]
async fn flush_delivers_in_batches_and_asks_nobody_when_nothing_waits() {
    let (desk, api) = (Desk::new(), EventsApi::start().await);
    let flushed = desk.client(&api.url).flush().await;
    assert_eq!((flushed.delivered, flushed.waiting, flushed.reason), (0, 0, None));
    assert!(api.seen().requests.is_empty() && !desk.spool().exists());

    let events: Vec<Event> = (0..45).map(|n| desk.event(&format!("{n:02}"))).collect();
    desk.client(NOBODY).deliver(&events).await;
    let flushed = desk.client(&api.url).flush().await;
    assert_eq!((flushed.delivered, flushed.waiting, flushed.reason), (45, 0, None));
    assert_eq!(api.seen().requests, [20, 20, 5]);
    assert_eq!(api.seen().identities.len(), 45);
}

#[tokio::test]
async fn what_is_refused_for_good_is_set_aside_with_the_words_and_not_sent_again() {
    let (desk, api) = (Desk::new(), EventsApi::start().await);
    api.seen().refused_branch = Some("strange".to_owned());
    let strange = |step: &str| Event { branch: Some("strange".to_owned()), ..desk.event(step) };
    let report = desk.client(&api.url).deliver(&[desk.event("a"), strange("b"), desk.event("c")]).await;
    let refusals = vec!["branch is none of ours".to_owned()];
    assert_eq!(report.delivery, Delivery::Refused { place: api.url.clone(), refusals });
    assert_eq!((api.steps(), desk.files()), (vec!["a".to_owned(), "c".to_owned()], vec![]));
    let refused = desk.client(&api.url).refused().unwrap();
    assert_eq!((refused.len(), refused[0].reason.as_str()), (1, "branch is none of ours"));
    assert_eq!(refused[0].event.as_ref().unwrap().step.as_deref(), Some("b"));

    // All of a request, and of an earlier call.
    desk.client(NOBODY).deliver(&[strange("d")]).await;
    let report = desk.client(&api.url).deliver(&[desk.event("e")]).await;
    assert_eq!((&report.delivery, report.earlier), (&delivered(&api), 0));
    assert_eq!(
        report.notes,
        [format!("{} refused an event of an earlier call for good: branch is none of ours", api.url)]
    );
    let asked = api.seen().requests.len();
    assert_eq!(desk.client(&api.url).flush().await.delivered, 0);
    assert_eq!((api.seen().requests.len(), desk.refused().len()), (asked, 2));
}

#[tokio::test]
async fn a_request_that_is_too_large_is_split_until_it_passes() {
    let (desk, api) = (Desk::new(), EventsApi::start().await);
    api.seen().events_max = Some(3);
    let events: Vec<Event> = (0..10).map(|n| desk.event(&n.to_string())).collect();
    let report = desk.client(&api.url).deliver(&events).await;
    assert_eq!(report.delivery, delivered(&api));
    // Ordered all the same.
    assert_eq!(api.steps(), (0..10).map(|n| n.to_string()).collect::<Vec<_>>());
    api.seen().events_max = Some(0);
    let report = desk.client(&api.url).deliver(&[desk.event("alone")]).await;
    let refusals = vec![format!("{} answered 413 Payload Too Large", api.url)];
    assert_eq!(report.delivery, Delivery::Refused { place: api.url.clone(), refusals });
}

#[tokio::test]
async fn a_request_that_is_wrong_as_a_whole_is_split_until_the_wrong_event_is_known() {
    let (desk, api) = (Desk::new(), EventsApi::start().await);
    let wrong = || Habit::Say(400, vec![], r#"{"title":"Bad Request","detail":"no such field"}"#.to_owned());
    // Of four: all, the first two, the first.
    (0..3).for_each(|_| api.meets(wrong()));
    let events: Vec<Event> = ["a", "b", "c", "d"].map(|step| desk.event(step)).into();
    let report = desk.client(&api.url).deliver(&events).await;
    let refusals = vec!["no such field".to_owned()];
    assert_eq!(report.delivery, Delivery::Refused { place: api.url.clone(), refusals });
    assert_eq!(api.steps(), ["b", "c", "d"]);
}

#[tokio::test]
async fn patience_is_obeyed_as_long_as_there_is_time() {
    let (desk, api) = (Desk::new(), EventsApi::start().await);
    let busy = |after: &str| Habit::Say(503, vec![("retry-after", after.to_owned())], "full".to_owned());
    api.meets(busy("0"));
    api.meets(busy("1"));
    let started = Instant::now();
    assert_eq!(desk.client(&api.url).deliver(&[desk.event("a")]).await.delivery, delivered(&api));
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!(api.seen().requests.len(), 3);

    api.meets(busy("3600"));
    let report = desk.client(&api.url).deliver(&[desk.event("b")]).await;
    let Delivery::Spooled { reason, .. } = report.delivery else { panic!("{report:?}") };
    assert_eq!(reason, format!("{} answered 503 Service Unavailable: full", api.url));
    assert_eq!((api.seen().requests.len(), desk.files().len()), (4, 1));
}

#[tokio::test]
async fn a_daemon_that_dies_after_it_committed_is_told_again_and_it_is_one_event() {
    let (desk, api) = (Desk::new(), EventsApi::start().await);
    api.meets(Habit::Die);
    assert_eq!(desk.client(&api.url).deliver(&[desk.event("a")]).await.delivery, delivered(&api));
    assert_eq!(api.steps(), ["a", "a"]);
    assert_eq!((api.seen().identities.len(), desk.files()), (1, vec![]));
}

#[tokio::test]
async fn a_daemon_that_hangs_costs_no_more_than_the_time_given_for_it() {
    let (desk, api) = (Desk::new(), EventsApi::start().await);
    api.meets(Habit::Wait);
    let client = desk.client(&api.url).with_timeout(Duration::from_millis(200));
    let started = Instant::now();
    let report = client.deliver(&[desk.event("a")]).await;
    let Delivery::Spooled { reason, waiting, .. } = report.delivery else { panic!("{report:?}") };
    assert_eq!((reason.as_str(), waiting), ("it did not finish in time", 1));
    assert!(started.elapsed() < Duration::from_secs(20));
    assert_eq!(desk.client(&api.url).flush().await.delivered, 1);
}

#[tokio::test]
async fn what_someone_can_mend_is_kept_and_told_without_the_token() {
    let (desk, api) = (Desk::new(), EventsApi::start().await);
    let elsewhere = EventsApi::start().await;
    let away = vec![("location", format!("{}/api/v1/events", elsewhere.url))];
    let portal = "<html>please log in</html>".to_owned();
    let mut said = Vec::new();
    for habit in [
        Habit::Say(401, vec![], r#"{"title":"Unauthorized","detail":"hunter2 is no token"}"#.to_owned()),
        Habit::Say(403, vec![], r#"{"title":"Forbidden","detail":"may not write"}"#.to_owned()),
        Habit::Say(307, away, String::new()),
        Habit::Say(200, vec![], portal),
        Habit::Say(404, vec![], String::new()),
    ] {
        api.meets(habit);
        let report = desk.with_token(&api.url, Some("hunter2")).deliver(&[desk.event("a")]).await;
        let Delivery::Spooled { reason, .. } = report.delivery else { panic!("{report:?}") };
        said.push(reason);
    }
    insta::with_settings!({ filters => vec![(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT")] }, {
        insta::assert_snapshot!(said.join("\n"), @r"
        http://127.0.0.1:PORT answered 401 Unauthorized: … is no token; hand a token over with --token-file
        http://127.0.0.1:PORT answered 403 Forbidden: may not write; its token may not do this
        http://127.0.0.1:PORT answered 307 Temporary Redirect: redirects are not followed; set --daemon to the right address
        http://127.0.0.1:PORT answered 200 OK; is it a cachetscope? set --daemon to the daemon's address
        http://127.0.0.1:PORT answered 404 Not Found; is it a cachetscope that takes events?
        ");
    });
    assert!(elsewhere.seen().requests.is_empty(), "the token went to another host");
    assert_eq!(desk.files().len(), 5);
}

#[tokio::test]
async fn two_at_once_take_turns_and_neither_returns_before_its_own_is_there() {
    let (desk, api) = (Desk::new(), EventsApi::start().await);
    api.meets(Habit::Wait);
    let (first, second) = (desk.client(&api.url), desk.client(&api.url));
    let (a, b) = (desk.event("a"), desk.event("b"));
    let both = async {
        let first = first.deliver(std::slice::from_ref(&a));
        let second = async {
            until("the first is under way", async || (!api.seen().requests.is_empty()).then_some(())).await;
            let second = second.deliver(std::slice::from_ref(&b));
            let freed = async {
                until("the second is kept", async || (desk.files().len() == 2).then_some(())).await;
                assert_eq!(api.seen().requests, [1], "two delivered at the same time");
                api.gate.add_permits(1);
            };
            tokio::join!(second, freed).0
        };
        tokio::join!(first, second)
    };
    let (first, second) = both.await;
    assert_eq!((first.delivery, second.delivery), (delivered(&api), delivered(&api)));
    assert_eq!(api.steps(), ["a", "b"]);
}

#[tokio::test]
async fn where_nothing_can_be_kept_it_is_delivered_past_the_spool_or_lost_aloud() {
    let (desk, api) = (Desk::new(), EventsApi::start().await);
    std::fs::write(desk.spool(), "in the place of a folder").unwrap();
    let report = desk.client(&api.url).deliver(&[desk.event("a"), desk.event("b")]).await;
    assert_eq!(report.delivery, delivered(&api));
    assert!(report.notes[0].contains("delivered past it: failed to make the folder"), "{report:?}");
    let report = desk.client(NOBODY).deliver(&[desk.event("c")]).await;
    let Delivery::Lost { reason } = report.delivery else { panic!("{report:?}") };
    assert!(reason.contains("failed to make the folder") && reason.contains("no answer from"), "{reason}");
    assert_eq!(api.steps(), ["a", "b"]);
}

#[tokio::test]
async fn a_full_spool_turns_the_newest_away_unless_it_can_be_emptied() {
    let (desk, api) = (Desk::new(), EventsApi::start().await);
    desk.spooled(&["a"]).await;
    let one = desk.spool().join(&desk.files()[0]);
    for n in 1..FILES_MAX {
        std::fs::hard_link(&one, desk.spool().join(format!("{n:020}-copy.json.gz"))).unwrap();
    }
    let report = desk.client(NOBODY).deliver(&[desk.event("b")]).await;
    let Delivery::Lost { reason } = report.delivery else { panic!("{report:?}") };
    assert!(reason.contains("is full: 10000 events wait"), "{reason}");
    assert_eq!(desk.files().len(), FILES_MAX);
    let report =
        desk.client(&api.url).with_timeout(Duration::from_secs(50)).deliver(&[desk.event("c")]).await;
    assert_eq!(report.delivery, delivered(&api));
    assert_eq!((desk.files(), api.seen().identities.len()), (vec![], 2));
}

#[tokio::test]
async fn a_damaged_file_is_set_aside_and_does_not_hold_up_the_others() {
    let (desk, api) = (Desk::new(), EventsApi::start().await);
    desk.spooled(&["a", "b", "c"]).await;
    let path = desk.spool().join(&desk.files()[1]);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..20]).unwrap();
    let flushed = desk.client(&api.url).flush().await;
    assert_eq!((flushed.delivered, flushed.waiting), (2, 0));
    assert!(flushed.notes[0].contains("is damaged") && flushed.notes[0].contains("refused"), "{flushed:?}");
    assert_eq!((api.steps().join(""), desk.refused().len()), ("ac".to_owned(), 1));
}

#[tokio::test]
async fn the_word_that_something_began_is_never_kept() {
    let (desk, api) = (Desk::new(), EventsApi::start().await);
    let begun = Event { finished: None, result: None, started: Some(desk.clock.now()), ..desk.event("a") };
    desk.client(NOBODY).notify(&begun).await;
    assert_eq!(desk.files(), [""; 0]);
    desk.client(&api.url).notify(&begun).await;
    assert_eq!(api.steps(), ["a"]);
}
