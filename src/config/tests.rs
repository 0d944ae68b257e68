//! The shipped files, and every rule with the exact words that a person sees.

use super::*;

fn shipped() -> Config {
    load(Source::Shipped, &Env::default()).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn shipped_suites_are_sound() {
    let config = shipped();
    let shape: Vec<_> = config.suites.iter().map(|s| (s.name.as_str(), s.variants.len())).collect();
    assert_eq!(shape, [("cachet", 2), ("cachet-writes", 2)]);
}
