//! What an expression of PromQL asks for, and which labels its answer can have.

use std::collections::BTreeSet;
use std::time::Duration;

use promql_parser::label::{Labels, MatchOp};
use promql_parser::parser::{
    AggregateExpr, BinaryExpr, Call, Expr, LabelModifier, VectorMatchCardinality, VectorSelector,
};

/// One selection of series within an expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Selector {
    /// Empty where a pattern selects.
    pub name: String,
    /// A pattern for names, for `{__name__=~"…"}`.
    pub pattern: Option<String>,
    /// Labels that its matchers speak of.
    pub matched: Vec<String>,
    /// As PromQL, without a range.
    pub text: String,
    pub range: Option<Duration>,
    /// The innermost function around it.
    pub function: Option<String>,
}

pub fn parse(text: &str) -> Result<Expr, String> {
    promql_parser::parser::parse(text)
}

/// Every selection of series, in the order of the text.
pub fn selectors(expr: &Expr) -> Vec<Selector> {
    let mut found = Vec::new();
    walk(expr, None, &mut |expr, function| match expr {
        Expr::VectorSelector(vector) => found.push(selector(vector, None, function)),
        Expr::MatrixSelector(matrix) => found.push(selector(&matrix.vs, Some(matrix.range), function)),
        _ => {}
    });
    found
}

fn selector(vector: &VectorSelector, range: Option<Duration>, function: Option<&str>) -> Selector {
    let mut name = vector.name.clone().unwrap_or_default();
    let (mut matched, mut pattern) = (Vec::new(), None);
    for matcher in &vector.matchers.matchers {
        match (matcher.name.as_str(), &matcher.op) {
            ("__name__", MatchOp::Equal) => name.clone_from(&matcher.value),
            ("__name__", MatchOp::Re(_)) => pattern = Some(matcher.value.clone()),
            _ => matched.push(matcher.name.clone()),
        }
    }
    let plain = VectorSelector { offset: None, at: None, ..vector.clone() };
    let function = function.map(str::to_owned);
    Selector { name, pattern, matched, text: plain.to_string(), range, function }
}

/// Visits each part of the expression, and tells the innermost function around it.
fn walk<'a>(expr: &'a Expr, function: Option<&'a str>, visit: &mut impl FnMut(&'a Expr, Option<&'a str>)) {
    visit(expr, function);
    match expr {
        Expr::Aggregate(AggregateExpr { expr, param, .. }) => {
            if let Some(param) = param {
                walk(param, function, visit);
            }
            walk(expr, function, visit);
        }
        Expr::Unary(unary) => walk(&unary.expr, function, visit),
        Expr::Binary(BinaryExpr { lhs, rhs, .. }) => {
            walk(lhs, function, visit);
            walk(rhs, function, visit);
        }
        Expr::Paren(paren) => walk(&paren.expr, function, visit),
        Expr::Subquery(subquery) => walk(&subquery.expr, function, visit),
        Expr::Call(call) => {
            for argument in &call.args.args {
                walk(argument, Some(call.func.name), visit);
            }
        }
        _ => {}
    }
}

/// Labels that the expression names outside of matchers and that must exist: in `by`, `on`, `group_left` and so on.
pub fn named_labels(expr: &Expr) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut add = |labels: &Labels| found.extend(labels.labels.iter().cloned());
    walk(expr, None, &mut |expr, _| match expr {
        Expr::Aggregate(AggregateExpr { modifier: Some(modifier), .. }) => add(modifier.labels()),
        Expr::Binary(BinaryExpr { modifier: Some(modifier), .. }) => {
            modifier.card.labels().into_iter().for_each(&mut add);
            modifier.matching.iter().for_each(|matching| add(matching.labels()));
        }
        _ => {}
    });
    let made = made_labels(expr);
    found.retain(|label| !made.contains(label));
    found
}

/// Labels that the expression makes itself: by `label_replace`, `label_join`, `count_values`.
fn made_labels(expr: &Expr) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    walk(expr, None, &mut |expr, _| match expr {
        Expr::Call(call) if matches!(call.func.name, "label_replace" | "label_join") => {
            found.extend(call.args.args.get(1).and_then(|arg| text(arg)));
        }
        Expr::Aggregate(AggregateExpr { op, param: Some(param), .. }) if op.to_string() == "count_values" => {
            found.extend(text(param));
        }
        _ => {}
    });
    found
}

fn text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::StringLiteral(text) => Some(text.val.clone()),
        _ => None,
    }
}

/// Labels that a series of the answer can have; `of` tells those of a metric's series.
pub fn labels(expr: &Expr, of: &dyn Fn(&str) -> BTreeSet<String>) -> BTreeSet<String> {
    match expr {
        Expr::VectorSelector(vector) => selected(vector, of),
        Expr::MatrixSelector(matrix) => selected(&matrix.vs, of),
        Expr::Paren(paren) => labels(&paren.expr, of),
        Expr::Unary(unary) => labels(&unary.expr, of),
        Expr::Subquery(subquery) => labels(&subquery.expr, of),
        Expr::Aggregate(aggregate) => of_aggregate(aggregate, of),
        Expr::Binary(binary) => of_binary(binary, of),
        Expr::Call(call) => of_call(call, of),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => BTreeSet::new(),
    }
}

fn selected(vector: &VectorSelector, of: &dyn Fn(&str) -> BTreeSet<String>) -> BTreeSet<String> {
    of(&selector(vector, None, None).name)
}

fn of_aggregate(aggregate: &AggregateExpr, of: &dyn Fn(&str) -> BTreeSet<String>) -> BTreeSet<String> {
    let inner = labels(&aggregate.expr, of);
    let op = aggregate.op.to_string();
    if matches!(op.as_str(), "topk" | "bottomk" | "limitk" | "limit_ratio") {
        return inner;
    }
    let mut kept: BTreeSet<String> = match &aggregate.modifier {
        None => BTreeSet::new(),
        Some(LabelModifier::Include(by)) => {
            by.labels.iter().filter(|l| inner.contains(*l)).cloned().collect()
        }
        Some(LabelModifier::Exclude(without)) => {
            inner.into_iter().filter(|l| !without.labels.contains(l) && l != "__name__").collect()
        }
    };
    if op == "count_values" {
        kept.extend(aggregate.param.as_deref().and_then(text));
    }
    kept
}

fn of_binary(binary: &BinaryExpr, of: &dyn Fn(&str) -> BTreeSet<String>) -> BTreeSet<String> {
    let (left, right) = (labels(&binary.lhs, of), labels(&binary.rhs, of));
    let op = binary.op.to_string();
    let scalar = |expr: &Expr| expr.value_type() == promql_parser::parser::value::ValueType::Scalar;
    if scalar(&binary.lhs) {
        return right;
    }
    if scalar(&binary.rhs) || matches!(op.as_str(), "and" | "unless") {
        return left;
    }
    if op == "or" {
        return left.union(&right).cloned().collect();
    }
    let Some(modifier) = &binary.modifier else { return left };
    match &modifier.card {
        VectorMatchCardinality::ManyToOne(taken) => {
            left.into_iter().chain(taken.labels.iter().cloned()).collect()
        }
        VectorMatchCardinality::OneToMany(taken) => {
            right.into_iter().chain(taken.labels.iter().cloned()).collect()
        }
        _ => match &modifier.matching {
            Some(LabelModifier::Include(on)) => left.into_iter().filter(|l| on.labels.contains(l)).collect(),
            Some(LabelModifier::Exclude(ignored)) => {
                left.into_iter().filter(|l| !ignored.labels.contains(l)).collect()
            }
            None => left,
        },
    }
}

fn of_call(call: &Call, of: &dyn Fn(&str) -> BTreeSet<String>) -> BTreeSet<String> {
    let argument = |n: usize| call.args.args.get(n).map(|arg| labels(arg, of)).unwrap_or_default();
    match call.func.name {
        "vector" | "scalar" | "time" | "pi" => BTreeSet::new(),
        "histogram_quantile" => argument(1).into_iter().filter(|l| l != "le").collect(),
        "quantile_over_time" | "histogram_fraction" => argument(call.args.len() - 1),
        "label_replace" | "label_join" => {
            argument(0).into_iter().chain(call.args.args.get(1).and_then(|arg| text(arg))).collect()
        }
        // It gives the labels of matchers by equality.
        "absent" | "absent_over_time" => match call.args.args.first().map(|arg| arg.as_ref()) {
            Some(Expr::VectorSelector(vector)) => equal(vector),
            Some(Expr::MatrixSelector(matrix)) => equal(&matrix.vs),
            _ => BTreeSet::new(),
        },
        _ => argument(0),
    }
}

fn equal(vector: &VectorSelector) -> BTreeSet<String> {
    let equal = vector.matchers.matchers.iter().filter(|m| m.op == MatchOp::Equal && m.name != "__name__");
    equal.map(|matcher| matcher.name.clone()).collect()
}

/// The labels in `{{…}}` of a legend.
pub fn legend_labels(legend: &str) -> Vec<String> {
    let open = legend.split("{{").skip(1);
    open.filter_map(|rest| Some(rest.split_once("}}")?.0.trim().to_owned())).collect()
}

/// Selector and label of `label_values(selector, label)`.
pub fn label_values(query: &str) -> Result<(Option<String>, String), String> {
    let inner = query.trim().strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
    let inner = inner.ok_or_else(|| format!("`{query}` found, label_values(selector, label) expected"))?;
    Ok(match inner.rsplit_once(',') {
        Some((selector, label)) => (Some(selector.trim().to_owned()), label.trim().to_owned()),
        None => (None, inner.trim().to_owned()),
    })
}

#[test]
fn the_labels_of_an_answer_are_known() {
    let of = |_: &str| ["a", "b", "c", "le"].map(str::to_owned).into();
    let cases = [
        ("m", "a b c le"),
        ("sum(m)", ""),
        ("sum by (a, x) (m)", "a"),
        ("avg without (a) (m)", "b c le"),
        ("topk(3, sum by (a, b) (m))", "a b"),
        ("histogram_quantile(0.9, sum by (le, a) (rate(m_bucket[1m])))", "a"),
        ("max by (a) (m) / on (a) group_left (b) n", "a b"),
        ("max by (a, b) (m) * on (a) group_right (b) max by (a, c) (n)", "a b c"),
        ("m / on (a) n", "a"),
        ("m / ignoring (a) n", "b c le"),
        ("sum by (a) (m) or sum by (b) (m)", "a b"),
        ("sum by (a) (m) unless n", "a"),
        ("100 * sum by (a) (m)", "a"),
        ("vector(0)", ""),
        ("label_replace(sum by (a) (m), \"x\", \"$1\", \"a\", \"(.*)\")", "a x"),
        ("absent(m{a=\"1\", b=~\"2\"})", "a"),
        ("max_over_time(sum by (a) (m)[1h:1m])", "a"),
        ("count_values by (a) (\"x\", m)", "a x"),
    ];
    for (text, expected) in cases {
        let found = labels(&parse(text).unwrap(), &of);
        assert_eq!(found.into_iter().collect::<Vec<_>>().join(" "), expected, "{text}");
    }
    assert_eq!(legend_labels("{{a}} on {{ b }}"), ["a", "b"]);
}

#[test]
fn selections_are_found_with_what_is_around_them() {
    let expr = parse("sum(rate(a{x=\"1\"}[67s])) / on (y) group_left (z) absent({__name__=\"b\"} offset 1m)")
        .unwrap();
    let found: Vec<_> =
        selectors(&expr).into_iter().map(|s| (s.name, s.matched, s.range, s.function, s.text)).collect();
    let a = "a{x=\"1\"}".to_owned();
    let b = "{__name__=\"b\"}".to_owned();
    let range = Some(Duration::from_secs(67));
    assert_eq!(found[0], ("a".to_owned(), vec!["x".to_owned()], range, Some("rate".to_owned()), a));
    assert_eq!(found[1], ("b".to_owned(), vec![], None, Some("absent".to_owned()), b));
    assert_eq!(named_labels(&expr), ["y", "z"].map(str::to_owned).into());
}
