//! The leg of prometheus-blackbox-exporter: asked for the same targets at the same rate.
//!
//! It opens a fresh connection for each probe, as we do. Its module checks the status alone, and
//! whoever asks it (a Prometheus) keeps what it saw; neither is counted here.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::process::Process;
use super::{Cost, Settings, WARM_UP, free_address, listens, target};

/// Probes that are asked for at once at most, as many as we have under way at once; the connections
/// to the exporter are kept.
const CONNECTIONS_MAX: usize = 64;

pub async fn run(settings: &Settings, port: u16, dir: &Path) -> anyhow::Result<Cost> {
    fs::create_dir_all(dir)?;
    let config = dir.join("blackbox.yaml");
    fs::write(
        &config,
        "modules: { http_2xx: { prober: http, timeout: 5s, http: { preferred_ip_protocol: ip4 } } }\n",
    )?;
    let address = free_address()?;
    let mut exporter = Command::new(&settings.blackbox);
    exporter.arg(format!("--config.file={}", config.display()));
    exporter.arg(format!("--web.listen-address={address}"));
    let exporter = Process::start(&mut exporter, &dir.join("blackbox.log"))?;
    listens(address).await?;

    let urls: Vec<String> = (1..=settings.deployments)
        .map(|n| {
            format!(
                "http://{address}/probe?module=http_2xx&target=http://{}/api/ping",
                target::address(n, port)
            )
        })
        .collect();
    drive(&urls, WARM_UP).await?;
    let cpu_before = exporter.cpu()?;
    let probes = drive(&urls, settings.time()).await?;
    let cpu = exporter.cpu()? - cpu_before;
    let peak_rss_bytes = exporter.peak_rss_bytes()?;
    exporter.end().await?;
    Ok(Cost { probes, cpu, peak_rss_bytes })
}

/// Asks for each URL once a second, evenly spread over the second; how many probes succeeded.
async fn drive(urls: &[String], time: Duration) -> anyhow::Result<u64> {
    // reqwest wants one even where nothing is encrypted; it may be there from an earlier call.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().pool_max_idle_per_host(CONNECTIONS_MAX).build()?;
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let succeeded = Arc::new(AtomicU64::new(0));
    // After a delay the missed ticks come at once, so that the rate holds.
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / u32::try_from(urls.len())?);
    for url in urls.iter().cycle().take(urls.len() * usize::try_from(time.as_secs())?) {
        ticks.tick().await;
        let turn = free.clone().acquire_owned().await?;
        let (asked, succeeded) = (client.get(url).send(), succeeded.clone());
        tokio::spawn(async move {
            if let Ok(answer) = asked.await
                && let Ok(text) = answer.text().await
                && text.contains("\nprobe_success 1\n")
            {
                succeeded.fetch_add(1, Ordering::Relaxed);
            }
            drop(turn);
        });
    }
    let _all = free.acquire_many(u32::try_from(CONNECTIONS_MAX)?).await?;
    Ok(succeeded.load(Ordering::Relaxed))
}
