//! Colours and symbols: the same for the same word everywhere, and none that judges where nobody judged.

use super::files::model::{Color, ColorMode, Mapping, Panel, PanelKind, Target, read};

/// Words with their texts and colours, the same on every dashboard and on the daemon's page.
const WORDS: &[(&str, &str, &str)] = &[
    ("regressed", "▲ regressed", "#b93524"),
    ("improved", "▼ improved", "#3a7d5c"),
    ("unchanged", "= unchanged", "#65696e"),
    ("inconclusive", "? inconclusive", "#8e9196"),
    ("insufficient", "… insufficient", "#8e9196"),
    ("no_baseline", "– no baseline", "#8e9196"),
    ("invalid", "! invalid", "#9a6a12"),
    ("pass", "● pass", "#3a7d5c"),
    ("degraded", "■ degraded", "#9a6a12"),
    ("fail", "✕ fail", "#b93524"),
    ("unreachable", "✕ unreachable", "#b93524"),
    ("skipped", "– skipped", "#8e9196"),
    ("success", "● success", "#3a7d5c"),
    ("failure", "✕ failure", "#b93524"),
    ("error", "✕ error", "#b93524"),
    ("timeout", "✕ timeout", "#b93524"),
    ("cancellation", "– cancellation", "#8e9196"),
    ("skip", "– skip", "#8e9196"),
];
const VERDICTS: usize = 7;

/// What a word looks like, and that nothing but words has a colour of judgement.
pub fn colours(panel: &Panel) -> Vec<String> {
    let mut problems = Vec::new();
    let overrides = panel.field_config.overrides.iter().flat_map(|o| &o.properties);
    let mut mappings: Vec<&Mapping> = panel.field_config.defaults.mappings.iter().collect();
    let set: Vec<Vec<Mapping>> =
        overrides.clone().filter(|p| p.id == "mappings").filter_map(|p| read(&p.value).ok()).collect();
    mappings.extend(set.iter().flatten());
    let judging = ["#b93524", "#3a7d5c", "#9a6a12", "red", "green", "orange", "yellow"];
    let judges = |color: &str| judging.iter().any(|word| color.contains(word));
    let compares = panel.targets.iter().any(|target| match target {
        Target::Prometheus(target) => target.expr.contains("delta") && !target.expr.contains("verdict"),
        _ => false,
    });
    for mapping in mappings {
        let mut verdicts = 0;
        for (key, mapped) in mapping.results() {
            let word = WORDS.iter().enumerate().find(|(_, (word, _, _))| Some(*word) == key);
            let (text, color) =
                (mapped.text.as_deref().unwrap_or_default(), mapped.color.as_deref().unwrap_or_default());
            if let Some((n, (word, right, right_color))) = word {
                verdicts += usize::from(n < VERDICTS);
                if text != *right || !is_color(color, right_color) {
                    problems.push(format!(
                        "`{word}` looks like `{text}` {color}; everywhere it is `{right}` {right_color}"
                    ));
                }
            } else if let Some((_, _, right)) = WORDS.iter().find(|(_, shown, _)| *shown == text)
                && !is_color(color, right)
            {
                problems.push(format!("`{text}` is {color}; everywhere it is {right}"));
            }
            let of_word = word.is_some();
            if compares && !of_word && judges(color) && !matches!(mapping, Mapping::Value(_)) {
                problems.push(format!("a difference gets the colour {color}: only a verdict may"));
            }
        }
        if verdicts != 0 && verdicts != VERDICTS {
            problems.push(format!("a mapping of verdicts knows {verdicts} of {VERDICTS}"));
        }
    }
    for rule in &panel.field_config.overrides {
        let Some((word, text, color)) = WORDS.iter().find(|(word, _, _)| rule.matcher.options == *word)
        else {
            continue;
        };
        let set = |id: &str| rule.properties.iter().find(|p| p.id == id).map(|p| &p.value);
        let found = (set("displayName"), set("color").map(|value| &value["fixedColor"]));
        if found.0.is_some_and(|shown| shown != text) || found.1.is_some_and(|shown| shown != color) {
            problems
                .push(format!("the series `{word}` looks like {found:?}; everywhere it is `{text}` {color}"));
        }
    }
    let defaults = &panel.field_config.defaults;
    let colors = overrides.clone().filter(|p| p.id == "color").filter_map(|p| read::<Color>(&p.value).ok());
    let modes: Vec<ColorMode> = defaults.color.iter().map(|c| c.mode).chain(colors.map(|c| c.mode)).collect();
    let steps = defaults.thresholds.iter().flat_map(|t| &t.steps);
    if compares && modes.contains(&ColorMode::Thresholds) && steps.into_iter().any(|step| judges(&step.color))
    {
        problems.push("a difference is coloured by thresholds: only a verdict may colour it".to_owned());
    }
    if defaults.color.is_none() && panel.kind != PanelKind::Text {
        // Grafana's default is thresholds, green then red from 80 on.
        problems.push("no `color`: Grafana would colour by thresholds of its own".to_owned());
    }
    problems
}

/// Whether this is the colour, be it transparent (`rgba(…)`), as behind a text.
fn is_color(found: &str, right: &str) -> bool {
    let parts = found.strip_prefix("rgba(").and_then(|rest| rest.strip_suffix(')'));
    let Some(parts) = parts else { return found == right };
    let mut hex = String::from("#");
    for part in parts.split(',').take(3) {
        hex += &part.trim().parse::<u8>().map(|part| format!("{part:02x}")).unwrap_or_default();
    }
    hex == right
}
