//! The list of containers → deployments. Pure.
//!
//! Where a container answers: what a label `url` says; else its address on the network that a label
//! or the settings name; else the port that it publishes on the engine's host; else its address on
//! the one network it is on.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::Look;
use crate::config::discover::labels::{Known, Labels};
use crate::config::discover::targets::TARGETS_MAX;
use crate::model::Deployment;

/// Labels of containers besides those of every target.
const LABELS: [&str; 2] = ["port", "network"];

/// The engine, as it is seen from here.
#[derive(Debug)]
pub(super) struct Engine {
    /// Where published ports are; its containers share this machine.
    pub host: String,
    pub prefix: String,
    /// Of the settings.
    pub network: Option<String>,
}

/// One entry of `GET /containers/json` (Docker Engine API, ContainerSummary).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Container {
    #[serde(default)]
    id: String,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    image: String,
    #[serde(default, rename = "ImageID")]
    image_id: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    ports: Option<Vec<Port>>,
    #[serde(default)]
    network_settings: Option<NetworkSettings>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Port {
    /// Where it is published: `0.0.0.0`, `::`, or one address of the host.
    #[serde(default, rename = "IP")]
    ip: String,
    private_port: u16,
    public_port: Option<u16>,
    #[serde(rename = "Type")]
    protocol: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkSettings {
    #[serde(default)]
    networks: Option<BTreeMap<String, Network>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Network {
    #[serde(default, rename = "IPAddress")]
    ip_address: String,
    #[serde(default, rename = "GlobalIPv6Address")]
    ipv6_address: String,
}

impl Engine {
    /// The containers with labels for us.
    ///
    /// # Errors
    /// When this is no list of containers, or one that is too long.
    pub fn ours(&self, body: &[u8]) -> Result<Vec<(Container, Labels)>, String> {
        let containers: Vec<Container> = serde_json::from_slice(body)
            .map_err(|error| format!("the answer is no list of containers: {error}"))?;
        let labelled = containers.into_iter().map(|container| {
            let labels = container.labels.iter().flatten();
            let labels =
                Labels::of(&self.prefix, labels.map(|(name, value)| (name.as_str(), value.as_str())));
            (container, labels)
        });
        let ours: Vec<_> = labelled.filter(|(_, labels)| labels.are_meant()).collect();
        match ours.len() {
            0..=TARGETS_MAX => Ok(ours),
            count => Err(format!("{count} containers carry labels; expected at most {TARGETS_MAX}")),
        }
    }

    pub fn judge(&self, containers: &[(Container, Labels)]) -> Look {
        let mut look = Look::default();
        for (container, labels) in containers {
            // It may fail again and again: then it has no address most of the time, and is no less there.
            if container.state == "restarting" {
                look.restarting.push(labels.name_or(container.name()));
                continue;
            }
            match self.deployment(container, labels) {
                Ok(deployment) => look.deployments.push(deployment),
                Err(wrong) => {
                    let name = container.name();
                    let notice = |wrong: String| format!("container `{name}` is not probed: {wrong}");
                    look.notices.extend(wrong.into_iter().map(notice));
                }
            }
        }
        look.notices.sort();
        look
    }

    fn deployment(&self, container: &Container, labels: &Labels) -> Result<Deployment, Vec<String>> {
        // The id of an image names its content, whatever was pushed or pulled since.
        let digest = container.image_id.as_str();
        let known = Known {
            name: container.name(),
            tag: container.tag(),
            digest: Some(digest).filter(|digest| digest.starts_with("sha256:")),
            scheme: None,
            host_group: Some(&self.host),
            labels: &LABELS,
        };
        labels
            .deployment(&known, || self.address(container, labels))
            .map_err(|wrong| wrong.iter().map(ToString::to_string).collect())
    }

    fn address(&self, container: &Container, labels: &Labels) -> Result<String, String> {
        let port = container.port(labels)?;
        let networks = container.network_settings.iter().flat_map(|n| n.networks.iter().flatten());
        let networks: Vec<(&str, &Network)> =
            networks.map(|(name, network)| (name.as_str(), network)).collect();
        if let Some(wanted) = labels.get("network").or(self.network.as_deref()) {
            let address = networks.iter().find(|(name, _)| *name == wanted).and_then(|(_, n)| n.address());
            return address.map(|address| format!("{address}:{port}")).ok_or_else(|| {
                format!("it has no address on the network `{wanted}`; it is on {}", names(&networks))
            });
        }
        if let Some((host, public)) = container.published(port, &self.host) {
            return Ok(format!("{host}:{public}"));
        }
        match networks.as_slice() {
            [("host", _)] => Ok(format!("{}:{port}", self.host)),
            [(_, network)] => network
                .address()
                .map(|address| format!("{address}:{port}"))
                .ok_or_else(|| format!("its port {port} is not published, and it has no address")),
            _ => Err(format!(
                "its port {port} is not published, and it is on {}; say which with the label {}",
                names(&networks),
                labels.full("network")
            )),
        }
    }
}

/// Of `GET /containers/ID/json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Details {
    config: DetailsConfig,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DetailsConfig {
    image: String,
}

impl Container {
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether only the image's name can tell the version, and the list does not have it: once the
    /// tag has moved to another image, it has an id instead.
    pub fn needs_image(&self, labels: &Labels) -> bool {
        labels.get("version").is_none() && self.image.starts_with("sha256:")
    }

    /// The name that the container was made from.
    pub fn take_image(&mut self, details: &[u8]) {
        if let Ok(details) = serde_json::from_slice::<Details>(details) {
            self.image = details.config.image;
        }
    }

    /// Without the leading slash. A container that is linked to has further names.
    pub fn name(&self) -> &str {
        let names = self.names.iter().map(|name| name.trim_start_matches('/'));
        names.into_iter().find(|name| !name.contains('/')).unwrap_or(&self.id)
    }

    /// Of `registry:5000/cachet:2.4.1@sha256:…`: `2.4.1`.
    fn tag(&self) -> Option<&str> {
        let image = self.image.split('@').next()?;
        let (_, tag) = image.rsplit('/').next()?.split_once(':')?;
        (!image.starts_with("sha256:")).then_some(tag)
    }

    /// The port within the container: the one that a label says; else the one it publishes; else
    /// the one it exposes.
    fn port(&self, labels: &Labels) -> Result<u16, String> {
        if let Some(text) = labels.get("port") {
            return text.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
                format!("label {}: expected a port from 1 to 65535, found `{text}`", labels.full("port"))
            });
        }
        let tcp = || self.ports.iter().flatten().filter(|port| port.protocol == "tcp");
        let mut of_these: Vec<u16> =
            tcp().filter(|port| port.public_port.is_some()).map(|port| port.private_port).collect();
        if of_these.is_empty() {
            of_these = tcp().map(|port| port.private_port).collect();
        }
        of_these.sort_unstable();
        of_these.dedup();
        let which = labels.full("port");
        match of_these.as_slice() {
            [port] => Ok(*port),
            [] => Err(format!("it exposes no port; say which with the label {which}")),
            several => {
                let several: Vec<String> = several.iter().map(u16::to_string).collect();
                Err(format!("it has the ports {}; say which with the label {which}", several.join(", ")))
            }
        }
    }

    /// Host and port where a port of the container is published; IPv4 first.
    fn published(&self, port: u16, engine: &str) -> Option<(String, u16)> {
        let here = |p: &&Port| p.private_port == port && p.protocol == "tcp" && p.public_port.is_some();
        let published =
            self.ports.iter().flatten().filter(here).min_by_key(|p| (p.ip.contains(':'), p.public_port));
        let published = published?;
        let host = match published.ip.as_str() {
            "" | "0.0.0.0" | "::" => engine.to_owned(),
            ip if ip.contains(':') => format!("[{ip}]"),
            ip => ip.to_owned(),
        };
        Some((host, published.public_port?))
    }
}

impl Network {
    fn address(&self) -> Option<String> {
        match (self.ip_address.as_str(), self.ipv6_address.as_str()) {
            ("", "") => None,
            ("", ipv6) => Some(format!("[{ipv6}]")),
            (ipv4, _) => Some(ipv4.to_owned()),
        }
    }
}

fn names(networks: &[(&str, &Network)]) -> String {
    match networks {
        [] => "no network".to_owned(),
        networks => networks.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests;
