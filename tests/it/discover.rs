//! Deployments that are discovered are probed without being listed, and a source that fails takes
//! nothing away.

mod docker;
mod files;
mod web;

use crate::rig::Member;

/// A target group as Prometheus's formats have it.
fn group(members: &[&Member], labels: &[(&str, &str)]) -> serde_json::Value {
    let targets: Vec<String> = members.iter().map(|member| address(member)).collect();
    let mut all = serde_json::Map::new();
    for member in members {
        all.insert("cachetscope_version".to_owned(), member.version.clone().into());
        all.insert("cachetscope_db".to_owned(), member.flavour.as_str().into());
    }
    all.extend(labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())));
    serde_json::json!({"targets": targets, "labels": all})
}

/// Host and port.
fn address(member: &Member) -> String {
    member.stand_in.url().authority().to_owned()
}

/// The name that a target gets without a label.
fn name(member: &Member) -> String {
    address(member).replace(':', "-")
}
