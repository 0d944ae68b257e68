//! What depends on the panel's type: its options, the `custom` part of its fields, and the properties
//! that an override may set. Then the options of transformations.
//!
//! Tables of fields and their forms, after `@grafana/schema` 13.2; only what our dashboards use.

use serde_json::Value;

use super::model::{Color, DataLink, Mapping, Panel, PanelKind, Thresholds, read};

/// What a value may be.
enum Form {
    Bool,
    Number,
    Text,
    Texts,
    /// One of these.
    Word(&'static [&'static str]),
    Object(Fields),
    /// Objects of one form.
    List(Fields),
    /// Names that the dashboard's author chose, with values of one form.
    Map(&'static Form),
    /// A part of the model.
    Model(fn(&Value) -> Result<(), String>),
    Either(&'static [Form]),
}

type Fields = &'static [(&'static str, Form)];

use Form::{Bool, Either, List, Map, Model, Number, Object, Text, Texts, Word};

impl Form {
    fn check(&self, path: &str, value: &Value) -> Result<(), String> {
        let expected = |right: bool, what: &str| match right {
            true => Ok(()),
            false => Err(format!("{path}: {value} found, {what} expected")),
        };
        match self {
            Bool => expected(value.is_boolean(), "true or false"),
            Number => expected(value.is_number(), "a number"),
            Text => expected(value.is_string(), "a text"),
            Texts => {
                expected(value.as_array().is_some_and(|v| v.iter().all(Value::is_string)), "a list of texts")
            }
            Word(words) => expected(
                value.as_str().is_some_and(|v| words.contains(&v)),
                &format!("one of {}", words.join(", ")),
            ),
            Object(fields) => check_fields(path, fields, value),
            List(fields) => {
                let list =
                    value.as_array().ok_or_else(|| format!("{path}: {value} found, a list expected"))?;
                let mut each = list.iter().enumerate();
                each.try_for_each(|(n, value)| check_fields(&format!("{path}[{n}]"), fields, value))
            }
            Map(form) => {
                let map =
                    value.as_object().ok_or_else(|| format!("{path}: {value} found, an object expected"))?;
                map.iter().try_for_each(|(name, value)| form.check(&format!("{path}.{name}"), value))
            }
            Model(check) => check(value).map_err(|problem| format!("{path}: {problem}")),
            Either(forms) => {
                let refused: Vec<String> = forms.iter().filter_map(|f| f.check(path, value).err()).collect();
                expected(refused.len() < forms.len(), &refused.join("; "))
            }
        }
    }
}

fn check_fields(path: &str, fields: Fields, value: &Value) -> Result<(), String> {
    let object = match value {
        Value::Null => return Ok(()),
        Value::Object(object) => object,
        other => return Err(format!("{path}: {other} found, an object expected")),
    };
    for (name, value) in object {
        let Some((_, form)) = fields.iter().find(|(known, _)| known == name) else {
            let known: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
            return Err(format!("{path}: unknown field `{name}`, expected one of {}", known.join(", ")));
        };
        form.check(&format!("{path}.{name}"), value)?;
    }
    Ok(())
}

const ORIENTATION: Form = Word(&["auto", "horizontal", "vertical"]);
const SIZING: Form = Word(&["auto", "manual"]);
const REDUCE: Form = Object(&[("calcs", Texts), ("fields", Text), ("limit", Number), ("values", Bool)]);
const TEXT_SIZE: Form = Object(&[("titleSize", Number), ("valueSize", Number), ("percentSize", Number)]);
const LEGEND: Form = Object(&[
    ("showLegend", Bool),
    ("displayMode", Word(&["list", "table", "hidden"])),
    ("placement", Word(&["bottom", "right"])),
    ("calcs", Texts),
    ("sortBy", Text),
    ("sortDesc", Bool),
    ("width", Number),
]);
const HIDE_FROM: Form = Object(&[("legend", Bool), ("tooltip", Bool), ("viz", Bool)]);

const STAT: Fields = &[
    ("reduceOptions", REDUCE),
    ("orientation", ORIENTATION),
    ("textMode", Word(&["auto", "value", "value_and_name", "name", "none"])),
    ("colorMode", Word(&["none", "value", "background", "background_solid"])),
    ("graphMode", Word(&["none", "line", "area"])),
    ("justifyMode", Word(&["auto", "center"])),
    ("showPercentChange", Bool),
    ("percentChangeColorMode", Word(&["standard", "inverted", "same_as_value"])),
    ("wideLayout", Bool),
    ("text", TEXT_SIZE),
];

const TIME_SERIES: Fields = &[
    ("legend", LEGEND),
    (
        "tooltip",
        Object(&[
            ("mode", Word(&["single", "multi", "none"])),
            ("sort", Word(&["none", "asc", "desc"])),
            ("hideZeros", Bool),
            ("maxHeight", Number),
            ("maxWidth", Number),
        ]),
    ),
    ("orientation", ORIENTATION),
];

const BAR_GAUGE: Fields = &[
    ("reduceOptions", REDUCE),
    ("orientation", ORIENTATION),
    ("displayMode", Word(&["basic", "gradient", "lcd"])),
    ("valueMode", Word(&["color", "text", "hidden"])),
    ("namePlacement", Word(&["auto", "top", "left", "hidden"])),
    ("showUnfilled", Bool),
    ("sizing", SIZING),
    ("minVizWidth", Number),
    ("minVizHeight", Number),
    ("maxVizHeight", Number),
    ("legend", LEGEND),
    ("text", TEXT_SIZE),
];

const GAUGE: Fields = &[
    ("reduceOptions", REDUCE),
    ("orientation", ORIENTATION),
    ("showThresholdLabels", Bool),
    ("showThresholdMarkers", Bool),
    ("sizing", SIZING),
    ("minVizWidth", Number),
    ("minVizHeight", Number),
    ("shape", Word(&["circle", "gauge"])),
    ("barShape", Word(&["flat", "rounded"])),
    ("barWidthFactor", Number),
    ("endpointMarker", Word(&["point", "glow", "none"])),
    ("segmentCount", Number),
    ("segmentSpacing", Number),
    ("sparkline", Bool),
    ("textMode", Word(&["auto", "value_and_name", "value", "name", "none"])),
    ("effects", Object(&[("barGlow", Bool), ("centerGlow", Bool), ("gradient", Bool)])),
    ("text", TEXT_SIZE),
];

const TABLE: Fields = &[
    ("showHeader", Bool),
    ("cellHeight", Word(&["sm", "md", "lg", "auto"])),
    ("frameIndex", Number),
    ("sortBy", List(&[("displayName", Text), ("desc", Bool)])),
    ("enablePagination", Bool),
    ("pageSize", Number),
    ("maxRowHeight", Number),
    ("showTypeIcons", Bool),
    ("frozenColumns", Object(&[("left", Number)])),
];

const TEXT: Fields = &[
    ("mode", Word(&["markdown", "html", "code"])),
    ("content", Text),
    ("code", Object(&[("language", Text), ("showLineNumbers", Bool), ("showMiniMap", Bool)])),
];

const TIME_SERIES_CUSTOM: Fields = &[
    ("drawStyle", Word(&["line", "bars", "points"])),
    ("lineInterpolation", Word(&["linear", "smooth", "stepBefore", "stepAfter"])),
    ("lineWidth", Number),
    ("lineStyle", Object(&[("fill", Word(&["solid", "dash", "dot", "square"])), ("dash", Model(numbers))])),
    ("fillOpacity", Number),
    ("fillBelowTo", Text),
    ("gradientMode", Word(&["none", "hue", "opacity", "scheme"])),
    ("showPoints", Word(&["auto", "always", "never"])),
    ("pointSize", Number),
    ("spanNulls", Either(&[Bool, Number])),
    ("insertNulls", Either(&[Bool, Number])),
    ("stacking", Object(&[("mode", Word(&["none", "normal", "percent"])), ("group", Text)])),
    ("axisPlacement", Word(&["auto", "left", "right", "hidden"])),
    ("axisLabel", Text),
    ("axisColorMode", Word(&["text", "series"])),
    ("axisBorderShow", Bool),
    ("axisCenteredZero", Bool),
    ("axisGridShow", Bool),
    ("axisSoftMin", Number),
    ("axisSoftMax", Number),
    ("axisWidth", Number),
    ("barAlignment", Number),
    ("barWidthFactor", Number),
    ("barMaxWidth", Number),
    (
        "scaleDistribution",
        Object(&[("type", Word(&["linear", "log", "symlog"])), ("log", Number), ("linearThreshold", Number)]),
    ),
    ("hideFrom", HIDE_FROM),
    (
        "thresholdsStyle",
        Object(&[("mode", Word(&["off", "line", "dashed", "area", "line+area", "dashed+area"]))]),
    ),
    ("showValues", Bool),
    ("transform", Word(&["constant", "negative-Y"])),
];

const TABLE_CUSTOM: Fields = &[
    ("align", Word(&["auto", "left", "center", "right"])),
    (
        "cellOptions",
        Object(&[
            (
                "type",
                Word(&[
                    "auto",
                    "color-text",
                    "color-background",
                    "gauge",
                    "sparkline",
                    "data-links",
                    "pill",
                    "json-view",
                ]),
            ),
            ("mode", Word(&["basic", "gradient", "lcd"])),
            ("valueDisplayMode", Word(&["color", "text", "hidden"])),
            ("applyToRow", Bool),
            ("wrapText", Bool),
        ]),
    ),
    ("width", Number),
    ("minWidth", Number),
    ("inspect", Bool),
    ("filterable", Bool),
    ("sortable", Bool),
    ("hideHeader", Bool),
    ("wrapText", Bool),
    ("wrapHeaderText", Bool),
    ("hideFrom", HIDE_FROM),
    ("footer", Object(&[("reducers", Texts)])),
    ("tooltip", Object(&[("field", Text), ("placement", Text)])),
];

const NO_CUSTOM: Fields = &[("hideFrom", HIDE_FROM), ("neutral", Number)];

/// What an override may set besides what is under `custom.`.
const PROPERTIES: Fields = &[
    ("unit", Text),
    ("decimals", Number),
    ("min", Number),
    ("max", Number),
    ("noValue", Text),
    ("displayName", Text),
    ("description", Text),
    ("color", Model(|value| read::<Color>(value).map(drop))),
    ("mappings", Model(|value| read::<Vec<Mapping>>(value).map(drop))),
    ("thresholds", Model(|value| read::<Thresholds>(value).map(drop))),
    ("links", Model(|value| read::<Vec<DataLink>>(value).map(drop))),
    ("filterable", Bool),
];

const NAMES: Form = Object(&[("names", Texts), ("pattern", Text)]);
const MATCHER: Form = Model(|value| read::<super::model::Matcher>(value).map(drop));

const TRANSFORMATIONS: Fields = &[
    (
        "organize",
        Object(&[
            ("excludeByName", Map(&Bool)),
            ("includeByName", Map(&Bool)),
            ("indexByName", Map(&Number)),
            ("renameByName", Map(&Text)),
            ("orderByMode", Word(&["manual", "auto"])),
        ]),
    ),
    ("merge", Object(&[])),
    ("joinByField", Object(&[("byField", Text), ("mode", Word(&["outer", "inner", "outerTabular"]))])),
    (
        "labelsToFields",
        Object(&[("mode", Word(&["columns", "rows"])), ("valueLabel", Text), ("keepLabels", Texts)]),
    ),
    ("sortBy", Object(&[("sort", List(&[("field", Text), ("desc", Bool)])), ("fields", Object(&[]))])),
    ("limit", Object(&[("limitField", Either(&[Number, Text]))])),
    ("filterFieldsByName", Object(&[("include", NAMES), ("exclude", NAMES)])),
    ("filterByRefId", Object(&[("include", Text), ("exclude", Text)])),
    (
        "filterByValue",
        Object(&[
            (
                "filters",
                List(&[
                    ("fieldName", Text),
                    ("config", Object(&[("id", Text), ("options", Map(&Either(&[Number, Text, Bool])))])),
                ]),
            ),
            ("match", Word(&["all", "any"])),
            ("type", Word(&["include", "exclude"])),
        ]),
    ),
    (
        "reduce",
        Object(&[
            ("reducers", Texts),
            ("mode", Word(&["seriesToRows", "reduceFields"])),
            ("includeTimeField", Bool),
            ("labelsToFields", Bool),
        ]),
    ),
    (
        "groupingToMatrix",
        Object(&[
            ("columnField", Text),
            ("rowField", Text),
            ("valueField", Text),
            ("emptyValue", Word(&["", "null", "zero", "empty", "true", "false"])),
        ]),
    ),
    (
        "groupBy",
        Object(&[(
            "fields",
            Map(&Object(&[("aggregations", Texts), ("operation", Word(&["aggregate", "groupby"]))])),
        )]),
    ),
    ("renameByRegex", Object(&[("regex", Text), ("renamePattern", Text)])),
    (
        "convertFieldType",
        Object(&[
            ("conversions", List(&[("targetField", Text), ("destinationType", Text), ("dateFormat", Text)])),
            ("fields", Object(&[])),
        ]),
    ),
    (
        "calculateField",
        Object(&[
            ("mode", Word(&["reduceRow", "binary", "unary", "index"])),
            ("alias", Text),
            ("replaceFields", Bool),
            ("reduce", Object(&[("reducer", Text), ("include", Texts)])),
            (
                "binary",
                Object(&[
                    ("left", Either(&[Text, OPERAND])),
                    ("right", Either(&[Text, OPERAND])),
                    ("operator", Text),
                ]),
            ),
            ("unary", Object(&[("operator", Text), ("fieldName", Text)])),
        ]),
    ),
    (
        "configFromData",
        Object(&[
            ("configRefId", Text),
            ("applyTo", MATCHER),
            ("mappings", List(&[("fieldName", Text), ("handlerKey", Text), ("reducerId", Text)])),
        ]),
    ),
    ("seriesToRows", Object(&[])),
    ("rowsToFields", Object(&[("mappings", List(&[("fieldName", Text), ("handlerKey", Text)]))])),
];
const OPERAND: Form = Object(&[("fixed", Text), ("matcher", Object(&[("id", Text), ("options", Text)]))]);

fn numbers(value: &Value) -> Result<(), String> {
    read::<Vec<f64>>(value).map(drop)
}

/// Everything in this panel whose form depends on its type.
pub fn check(panel: &Panel) -> Result<(), String> {
    let (options, custom) = match panel.kind {
        PanelKind::Stat => (STAT, NO_CUSTOM),
        PanelKind::Timeseries => (TIME_SERIES, TIME_SERIES_CUSTOM),
        PanelKind::Bargauge => (BAR_GAUGE, NO_CUSTOM),
        PanelKind::Gauge => (GAUGE, NO_CUSTOM),
        PanelKind::Table => (TABLE, TABLE_CUSTOM),
        PanelKind::Text => (TEXT, NO_CUSTOM),
        PanelKind::Row => (&[][..], NO_CUSTOM),
    };
    check_fields("options", options, &panel.options)?;
    check_fields("fieldConfig.defaults.custom", custom, &panel.field_config.defaults.custom)?;
    for (n, rule) in panel.field_config.overrides.iter().enumerate() {
        for (m, property) in rule.properties.iter().enumerate() {
            let path = format!("fieldConfig.overrides[{n}].properties[{m}]");
            let id = property.id.as_str();
            let (known, name) = match id.strip_prefix("custom.") {
                Some(name) => (custom, name),
                None => (PROPERTIES, id),
            };
            match known.iter().find(|(known, _)| *known == name) {
                Some((_, form)) => form.check(&format!("{path} ({id})"), &property.value)?,
                None => return Err(format!("{path}: unknown property `{id}` of a {:?} panel", panel.kind)),
            }
        }
    }
    for (n, transformation) in panel.transformations.iter().enumerate() {
        let path = format!("transformations[{n}]");
        match TRANSFORMATIONS.iter().find(|(id, _)| *id == transformation.id) {
            Some((id, form)) => form.check(&format!("{path} ({id}).options"), &transformation.options)?,
            None => return Err(format!("{path}: unknown transformation `{}`", transformation.id)),
        }
    }
    Ok(())
}
