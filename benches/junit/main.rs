//! `make bench`: a JUnit report of 500 MB, read from a generator and from a file.
//!
//! What is measured is what the daemon does with an upload: `gather`, with cases, messages and
//! identities. Each leg is a process of its own, so that its peak memory is its own; the file is read
//! once before it is measured, so it comes from the page cache and the disk is no part of the figure.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::Context;
use cachetscope::junit::gather;
use clap::{Parser, ValueEnum};

#[derive(Parser)]
struct Settings {
    /// Size of the report in MB (10^6 bytes)
    #[arg(long, env = "BENCH_JUNIT_MB", default_value = "500")]
    megabytes: u64,
    /// Measure one leg, in this process
    #[arg(long, hide = true)]
    leg: Option<Leg>,
    #[arg(long, hide = true)]
    file: Option<PathBuf>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Leg {
    Generator,
    File,
}

/// A report of PHPUnit's form that goes on until it has the size: of 20 tests one fails, one is
/// skipped, and each fourth wrote something.
struct Report {
    left: u64,
    piece: Vec<u8>,
    at: usize,
    cases: u64,
}

impl Report {
    const HEAD: &str =
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"unit\">\n";
    const TAIL: &str = "  </testsuite>\n</testsuites>\n";

    fn new(bytes: u64) -> Self {
        Report { left: bytes, piece: Self::HEAD.into(), at: 0, cases: 0 }
    }

    fn write_case(&mut self) -> io::Result<()> {
        let (n, class) = (self.cases, self.cases / 20);
        self.cases += 1;
        self.piece.clear();
        let out = &mut self.piece;
        write!(
            out,
            "    <testcase name=\"testCase{n} with data set &quot;#{n}&quot;\" class=\"App\\Tests\\C{class}Test\" \
             classname=\"App.Tests.C{class}Test\" file=\"/build/tests/C{class}Test.php\" line=\"{n}\" \
             assertions=\"3\" time=\"0.{n:06}\""
        )?;
        match n % 20 {
            3 => write!(
                out,
                ">\n      <failure type=\"PHPUnit\\Framework\\ExpectationFailedException\">App\\Tests\\C{class}Test::testCase{n}\n\
                 Failed asserting that &apos;{n}&apos; is identical to &apos;0&apos;.\n\n{}</failure>\n    </testcase>\n",
                "/build/tests/Test.php:26\n".repeat(12)
            ),
            7 => writeln!(out, ">\n      <skipped/>\n    </testcase>"),
            n if n % 4 == 0 => writeln!(
                out,
                ">\n      <system-out><![CDATA[{}]]></system-out>\n    </testcase>",
                "a line that a test wrote, with <b>markup</b> in it\n".repeat(24)
            ),
            _ => writeln!(out, "/>"),
        }
    }
}

impl Read for Report {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() {
            self.at = 0;
            let ended = self.piece == Self::TAIL.as_bytes();
            match self.left {
                _ if ended => return Ok(0),
                0 => self.piece = Self::TAIL.into(),
                _ => self.write_case()?,
            }
            self.left = self.left.saturating_sub(self.piece.len() as u64);
        }
        let count = into.len().min(self.piece.len() - self.at);
        into[..count].copy_from_slice(&self.piece[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

fn main() -> anyhow::Result<()> {
    let settings = Settings::parse();
    let bytes = settings.megabytes * 1_000_000;
    match (settings.leg, &settings.file) {
        (Some(Leg::Generator), _) => measure(|| Ok(BufReader::new(Report::new(bytes)))),
        (Some(Leg::File), Some(file)) => measure(|| Ok(BufReader::new(File::open(file)?))),
        (Some(Leg::File), None) => anyhow::bail!("the leg `file` needs --file"),
        (None, _) => run_legs(settings.megabytes),
    }
}

fn run_legs(megabytes: u64) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("junit.xml");
    let mut out = BufWriter::new(File::create(&file)?);
    let written = io::copy(&mut Report::new(megabytes * 1_000_000), &mut out)?;
    out.flush()?;
    println!("JUnit XML of {:.1} MB, read three times", written as f64 / 1e6);
    for leg in ["generator", "file"] {
        println!("\n{leg}");
        run_leg(leg, &file, megabytes)?;
    }
    Ok(())
}

fn run_leg(leg: &str, file: &Path, megabytes: u64) -> anyhow::Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--leg", leg, "--megabytes", &megabytes.to_string(), "--file"]).arg(file);
    let status = command.status().with_context(|| format!("failed to start {command:?}"))?;
    anyhow::ensure!(status.success(), "the leg `{leg}` failed: {status}");
    Ok(())
}

fn measure<R: Read>(report: impl Fn() -> io::Result<R>) -> anyhow::Result<()> {
    let size = io::copy(&mut report()?, &mut io::sink())?;
    // What the generator itself takes is no part of the parser's time.
    let mut bare = Vec::new();
    let (mut times, mut told) = (Vec::new(), None);
    for _ in 0..3 {
        let started = Instant::now();
        io::copy(&mut report()?, &mut io::sink())?;
        bare.push(started.elapsed());
        let started = Instant::now();
        let (tests, _) = gather(None, [("junit.xml".to_owned(), report()?)])?;
        times.push(started.elapsed());
        told = Some((tests.counts(), tests.cases.len(), tests.aborted));
    }
    times.sort_unstable();
    bare.sort_unstable();
    let (counts, listed, aborted) = told.context("nothing was read")?;
    anyhow::ensure!(!aborted, "the report was not read to its end");
    let rate = size as f64 / 1e6 / times[1].as_secs_f64();
    line("read, median of 3", format!("{rate:.0} MB/s"), Some((rate >= 100.0, "at least 100 MB/s")));
    line("the bare stream", format!("{:.0} MB/s", size as f64 / 1e6 / bare[1].as_secs_f64()), None);
    line("test cases", format!("{} ({} failed; {listed} listed)", counts.total(), counts.bad()), None);
    let peak = peak_rss_bytes()? as f64 / 1_048_576.0;
    line("peak RSS", format!("{peak:.1} MiB"), Some((peak <= 64.0, "at most 64 MiB")));
    Ok(())
}

fn line(name: &str, value: String, aim: Option<(bool, &str)>) {
    let aim = aim.map(|(met, aim)| format!("   {} (aim: {aim})", if met { "met" } else { "NOT MET" }));
    println!("  {name:<42}{value}{}", aim.unwrap_or_default());
}

/// The most memory this process ever had at once (`proc(5)`).
fn peak_rss_bytes() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok());
    Ok(kib.context("a status without VmHWM")? * 1_024)
}
