//! Keeps within what a target allows one client, before it has to say no.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use http::HeaderMap;

use crate::clock::Timestamp;
use crate::model::Budget;

/// What every deployment has left; shared by all suites, since the target counts them together.
#[derive(Debug, Default)]
pub struct Budgets(Mutex<HashMap<String, Ledger>>);

#[derive(Debug, Default)]
struct Ledger {
    /// When the requests of the last window were sent.
    sent: VecDeque<Timestamp>,
    /// The target asked for silence until then.
    closed_until: Option<Timestamp>,
}

/// How long a target that says 429 without `Retry-After`, or that nothing remains, is left alone.
const PAUSE: Duration = Duration::from_secs(60);
/// The longest silence a target can ask for: a broken `Retry-After` must not end probing.
const PAUSE_MAX: Duration = Duration::from_secs(15 * 60);

impl Budgets {
    /// Counts one request, or says why it must not be sent now.
    pub fn take(&self, deployment: &str, budget: Option<Budget>, now: Timestamp) -> Result<(), String> {
        let mut ledgers = self.0.lock().unwrap_or_else(|e| e.into_inner());
        let ledger = ledgers.entry(deployment.to_owned()).or_default();
        if let Some(until) = ledger.closed_until {
            if now < until {
                let left = Duration::from_secs(until.since(now).as_secs() + 1);
                return Err(format!("rate_limited: the target allows the next request in {left:?}"));
            }
            ledger.closed_until = None;
        }
        let Some(budget) = budget else { return Ok(()) };
        while ledger.sent.front().is_some_and(|t| now.since(*t) >= budget.per || *t > now) {
            ledger.sent.pop_front();
        }
        if ledger.sent.len() >= budget.requests as usize {
            return Err(format!(
                "rate_limited: the budget of {} requests in {:?} is used up",
                budget.requests, budget.per
            ));
        }
        ledger.sent.push_back(now);
        Ok(())
    }

    /// Counts a request that is sent whatever is left, as clean-up is: an object left behind is worse
    /// than one request too many.
    pub fn take_anyway(&self, deployment: &str, budget: Option<Budget>, now: Timestamp) {
        if let (Err(_), Some(_)) = (self.take(deployment, budget, now), budget) {
            let mut ledgers = self.0.lock().unwrap_or_else(|e| e.into_inner());
            ledgers.entry(deployment.to_owned()).or_default().sent.push_back(now);
        }
    }

    /// From when on so many requests may be sent at once, as far as is known now.
    pub fn opens(&self, deployment: &str, asked: u32, budget: Option<Budget>, now: Timestamp) -> Timestamp {
        let ledgers = self.0.lock().unwrap_or_else(|e| e.into_inner());
        let Some(ledger) = ledgers.get(deployment) else { return now };
        let open = ledger.closed_until.map_or(now, |until| until.max(now));
        let Some(budget) = budget else { return open };
        let recent: Vec<Timestamp> =
            ledger.sent.iter().copied().filter(|t| *t <= now && now.since(*t) < budget.per).collect();
        let over = (recent.len() + asked as usize).saturating_sub(budget.requests as usize);
        match recent.get(over.min(recent.len()).wrapping_sub(1)) {
            Some(last) => open.max(last.plus(budget.per)),
            None => open,
        }
    }

    /// Learns from an answer: `429` and `X-RateLimit-Remaining: 0` close the target for as long as
    /// it says (`Retry-After` in seconds or as a date, RFC 9110 §10.2.3).
    pub fn learn(&self, deployment: &str, status: u16, headers: &HeaderMap, now: Timestamp) {
        let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
        let nothing_left = number("x-ratelimit-remaining") == Some(0);
        if status != 429 && !nothing_left {
            return;
        }
        let asked = retry_after(headers, now).unwrap_or(PAUSE).min(PAUSE_MAX);
        let mut ledgers = self.0.lock().unwrap_or_else(|e| e.into_inner());
        ledgers.entry(deployment.to_owned()).or_default().closed_until = Some(now.plus(asked));
    }
}

fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = chrono::DateTime::parse_from_rfc2822(text).ok()?;
    Some(Timestamp::from_utc(date.to_utc()).since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000_000)
    }

    #[test]
    fn the_budget_is_a_sliding_window_of_each_deployment() {
        let budgets = Budgets::default();
        let budget = Some(Budget { requests: 2, per: 60 * SECOND });
        assert!(budgets.take("a", budget, at(0)).is_ok());
        assert!(budgets.take("a", budget, at(30)).is_ok());
        assert!(budgets.take("a", budget, at(59)).unwrap_err().contains("2 requests in 60s"));
        assert!(budgets.take("b", budget, at(59)).is_ok());
        assert!(budgets.take("a", budget, at(60)).is_ok());
        assert!(budgets.take("a", budget, at(61)).is_err());
    }

    #[test]
    fn it_says_from_when_on_a_round_has_room() {
        let budgets = Budgets::default();
        let budget = Some(Budget { requests: 3, per: 60 * SECOND });
        assert_eq!(budgets.opens("a", 3, budget, at(0)), at(0));
        for t in [0, 10, 20] {
            budgets.take("a", budget, at(t)).unwrap();
        }
        assert_eq!(budgets.opens("a", 1, budget, at(20)), at(60));
        assert_eq!(budgets.opens("a", 2, budget, at(20)), at(70));
        assert_eq!(budgets.opens("a", 1, budget, at(60)), at(60));
        assert_eq!(budgets.opens("a", 9, budget, at(60)), at(80), "it will never have room for so many");
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", "30".parse().unwrap());
        budgets.learn("a", 429, &headers, at(60));
        assert_eq!(budgets.opens("a", 1, budget, at(60)), at(90));
        assert_eq!(budgets.opens("a", 1, None, at(95)), at(95));
    }

    #[test]
    fn clean_up_is_sent_beyond_the_budget_and_counts() {
        let budgets = Budgets::default();
        let budget = Some(Budget { requests: 1, per: 60 * SECOND });
        budgets.take_anyway("a", budget, at(0));
        budgets.take_anyway("a", budget, at(30));
        assert!(budgets.take("a", budget, at(61)).is_err());
        assert!(budgets.take("a", budget, at(90)).is_ok());
    }

    #[test]
    fn a_target_that_says_wait_is_left_alone_for_as_long_as_it_says() {
        let budgets = Budgets::default();
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", "30".parse().unwrap());
        budgets.learn("a", 429, &headers, at(0));
        assert!(budgets.take("a", None, at(29)).unwrap_err().contains("rate_limited"));
        assert!(budgets.take("a", None, at(30)).is_ok());
        headers.insert("retry-after", "Thu, 01 Jan 1970 00:02:00 GMT".parse().unwrap());
        budgets.learn("a", 429, &headers, at(100));
        assert!(budgets.take("a", None, at(119)).is_err());
        assert!(budgets.take("a", None, at(121)).is_ok());
    }

    #[test]
    fn nothing_remaining_closes_before_the_target_refuses() {
        let budgets = Budgets::default();
        let mut headers = HeaderMap::new();
        headers.insert("x-ratelimit-remaining", "1".parse().unwrap());
        budgets.learn("a", 200, &headers, at(0));
        assert!(budgets.take("a", None, at(1)).is_ok());
        headers.insert("x-ratelimit-remaining", "0".parse().unwrap());
        budgets.learn("a", 200, &headers, at(1));
        assert!(budgets.take("a", None, at(2)).is_err());
        assert!(budgets.take("a", None, at(61)).is_ok());
    }
}
