//! `kill -9` of clients at random moments: what was kept arrives, and is one event.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::{in_jenkins, jenkins};
use crate::events_api::{EventsApi, Habit};
use crate::rig::Home;

/// The finaliser of SplitMix64: moments that are the same in each run of the test.
fn draw(seed: u64) -> u64 {
    let x = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[tokio::test]
async fn clients_that_are_killed_while_they_deliver_lose_nothing_and_double_nothing() {
    const CLIENTS: u64 = 24;
    const EVENTS: u64 = 25;
    let (home, api) = (Home::new(), EventsApi::start().await);
    // Of the requests some are committed and not acknowledged, and some turned away.
    for n in 0..200 {
        api.meets(match n % 7 {
            2 => Habit::Die,
            4 => Habit::Say(503, vec![("retry-after", "0".to_owned())], String::new()),
            _ => Habit::Fine,
        });
    }
    let mut kept = BTreeSet::new();
    let mut killed = 0;
    for client in 0..CLIENTS {
        let events: Vec<Value> = (0..EVENTS)
            .map(|n| {
                json!({ "source": "k", "pipeline": "p", "run": client.to_string(), "step": n.to_string(),
                        "finished": "2026-08-22T10:31:00Z", "result": "success" })
            })
            .collect();
        home.write("events.json", &Value::from(events).to_string());
        let command = &mut in_jenkins(&home, &api.url, &["record", "event", "events.json"]);
        let mut child = command.spawn().unwrap();
        // The moment is what is drawn: from before anything is kept to after all is delivered.
        let moment = Duration::from_micros(draw(client) % 200_000);
        match tokio::time::timeout(moment, child.wait()).await {
            Err(_) => {
                child.kill().await.unwrap();
                killed += 1;
            }
            // Whoever ended well has promised all of them.
            Ok(ended) => {
                assert!(ended.unwrap().success());
                kept.extend((0..EVENTS).map(|n| format!("{client}/{n}")));
            }
        }
        // What is in the spool now, or was taken, must arrive.
        let listed =
            jenkins(&home, &api.url, &["flush", "--list", "--output", "json"]).await.expect(0).json();
        for one in listed["waiting"].as_array().unwrap() {
            let event = &one["event"];
            assert!(event.is_object(), "half an event: {one}");
            kept.insert(format!("{}/{}", event["run"].as_str().unwrap(), event["step"].as_str().unwrap()));
        }
    }
    jenkins(&home, &api.url, &["flush"]).await.expect(0);
    let seen = api.seen();
    let name =
        |event: &Value| format!("{}/{}", event["run"].as_str().unwrap(), event["step"].as_str().unwrap());
    let arrived: BTreeSet<String> = seen.events.iter().map(name).collect();
    assert!(kept.is_subset(&arrived), "lost: {:?}", kept.difference(&arrived).collect::<Vec<_>>());
    assert_eq!(arrived.len(), seen.identities.len());
    assert!(seen.events.len() > arrived.len(), "nothing was told twice, so this tested nothing");
    assert!(
        killed > 3 && !kept.is_empty(),
        "{killed} of {CLIENTS} were killed, {} events were promised",
        kept.len()
    );
    println!(
        "{killed} of {CLIENTS} killed; of {} that were promised, {} arrived, in {} deliveries",
        kept.len(),
        arrived.len(),
        seen.events.len()
    );
}
