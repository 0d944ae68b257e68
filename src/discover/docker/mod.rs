//! A Docker engine, read through its API: the list of running containers, and the stream of events
//! that says when to look at it again.
//!
//! Only `GET /containers/json`, `/containers/ID/json` and `/events` are asked, so a read-only proxy
//! before the socket is enough. Paths carry no API version: the engine answers in its own, newer engines refuse old
//! versions, and what is read has been there since 1.22.

mod containers;

use std::time::Duration;

use reqwest::{Client, Response};
use tokio::time::Instant;
use url::Url;

use super::Look;
use super::web::{TIMEOUT, ask, plain};
use crate::config::discover::{self as settings, Endpoint};
use crate::http::causes;
use containers::Engine;

/// Of one list; a container has some kilobytes, most of it labels.
const LIST_MAX: usize = 8 << 20;
/// Of one container.
const DETAILS_MAX: usize = 1 << 20;
/// How long the stream of events may take to open.
const EVENTS_TIMEOUT: Duration = Duration::from_secs(2);
/// Events come in groups: a restart is two of them.
const GATHER: Duration = Duration::from_millis(300);
/// What changes the list or the addresses in it; health checks alone are several events a minute.
const EVENTS: &str = r#"{"type":["container"],"event":["start","die","rename"]}"#;

pub(super) struct Docker {
    settings: settings::Docker,
    client: Result<Client, String>,
    /// Where it answers; for a socket the host says nothing.
    base: String,
    engine: Engine,
    events: Option<Response>,
}

impl Docker {
    pub fn new(settings: &settings::Docker) -> Self {
        let (socket, base, host) = match &settings.endpoint {
            Endpoint::Socket(path) => (Some(path), "http://docker/".to_owned(), "127.0.0.1".to_owned()),
            Endpoint::Http(url) => (None, url.to_string(), url.host_str().unwrap_or_default().to_owned()),
        };
        let client = plain().and_then(|builder| {
            let builder = match socket {
                Some(path) => builder.unix_socket(path.clone()),
                None => builder,
            };
            builder.build().map_err(causes)
        });
        let engine =
            Engine { host, prefix: settings.label_prefix.clone(), network: settings.network.clone() };
        Docker { settings: settings.clone(), client, base, engine, events: None }
    }

    pub async fn look(&mut self) -> Result<Look, String> {
        // Before the list, so that what happens in between is heard.
        self.listen().await;
        let client = self.client.as_ref().map_err(Clone::clone)?;
        let request = client.get(format!("{}containers/json", self.base)).timeout(TIMEOUT);
        let (_, body) = ask(request, LIST_MAX).await?;
        let mut containers = self.engine.ours(&body)?;
        for (container, labels) in &mut containers {
            if !container.needs_image(labels) {
                continue;
            }
            let request = client.get(format!("{}containers/{}/json", self.base, container.id()));
            match ask(request.timeout(TIMEOUT), DETAILS_MAX).await {
                Ok((_, body)) => container.take_image(&body),
                Err(why) => tracing::debug!(container = container.name(), why, "no details of a container"),
            }
        }
        Ok(self.engine.judge(&containers))
    }

    /// Until an event or the next refresh, whichever comes first. Without events, as some proxies
    /// have it, refreshes are all there is.
    pub async fn wait(&mut self) {
        let next = Instant::now() + self.settings.refresh;
        if let Some(events) = &mut self.events {
            let mut until = next;
            let mut heard = false;
            // All that come together are one look: a host of CI starts containers by the dozen.
            loop {
                match tokio::time::timeout_at(until, events.chunk()).await {
                    Ok(Ok(Some(_))) if heard => {}
                    Ok(Ok(Some(_))) => (heard, until) = (true, Instant::now() + GATHER),
                    Ok(_) => break,
                    Err(_) => return,
                }
            }
            self.events = None;
            if heard {
                return;
            }
        }
        tokio::time::sleep_until(next).await;
    }

    async fn listen(&mut self) {
        let Ok(client) = &self.client else { return };
        if self.events.is_some() {
            return;
        }
        let Ok(url) = Url::parse_with_params(&format!("{}events", self.base), [("filters", EVENTS)]) else {
            return;
        };
        let request = client.get(url).send();
        match tokio::time::timeout(EVENTS_TIMEOUT, request).await {
            Ok(Ok(response)) if response.status() == 200 => self.events = Some(response),
            Ok(Ok(response)) => tracing::debug!(status = %response.status(), "no events of Docker"),
            Ok(Err(error)) => tracing::debug!(error = causes(error), "no events of Docker"),
            Err(_) => tracing::debug!("no events of Docker in time"),
        }
    }
}
