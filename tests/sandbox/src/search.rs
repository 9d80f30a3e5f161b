//! Search bodies: conditions, sort order, parameters. Names are read in any case, as the SIS does; values are brought to
//! the field's own type, whatever wrapper (`Long…`, `String…`, `Bool…`) they came in. Text compares without case.

use std::cmp::Ordering;
use std::collections::HashSet;

use chrono::NaiveDate;
use serde_json::Value as Json;

use crate::catalog::{Kind, Object, Value};

/// What a search body asks for.
#[derive(Debug, Default)]
pub(crate) struct Search {
    pub(crate) filter: Option<Filter>,
    /// Field and whether it descends.
    pub(crate) sort: Vec<(usize, bool)>,
    /// `SchoolYearID` among `SearchParameters`.
    pub(crate) year: Option<i64>,
    /// Some condition is on `SchoolYearID`.
    pub(crate) names_year: bool,
    /// The body, to tell searches apart.
    pub(crate) text: String,
}

/// Why a search body is refused. Names what is wrong, not the value.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum SearchError {
    #[error("the body is not JSON")]
    NotJson,
    #[error("there is no field of that name: {0}")]
    UnknownField(String),
    #[error("a condition has no FieldName")]
    NoFieldName,
    #[error("the ConditionType is unknown")]
    UnknownType,
    #[error("the Value does not fit the field {0}")]
    BadValue(&'static str),
    #[error("the condition is neither a group nor a search condition")]
    NotACondition,
}

/// A condition, or several together.
#[derive(Debug)]
pub(crate) enum Filter {
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Field(usize, Test),
}

/// What a field's value must be.
#[derive(Debug)]
pub(crate) enum Test {
    Compare(Comparison, Operand),
    Between { low: Operand, high: Operand, inclusive: bool, negated: bool },
    Null { wanted: bool },
    List { operands: HashSet<Operand>, negated: bool },
    Like { pattern: Vec<char>, negated: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

impl Comparison {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterEqual => order.is_ge(),
        }
    }
}

/// A value to compare with, of the field's type; text in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Operand {
    Int(i64),
    Bool(bool),
    Date(NaiveDate),
    Text(String),
}

impl Operand {
    /// The comparable side of a value; `None` for null.
    pub(crate) fn of(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Null => return None,
            Value::Int(number) => Self::Int(*number),
            Value::Bool(flag) => Self::Bool(*flag),
            Value::Date(date) => Self::Date(*date),
            Value::Str(text) => Self::Text(text.to_lowercase()),
            Value::Text(text) => Self::Text(text.to_lowercase()),
        })
    }

    fn read(json: &Json, kind: Kind) -> Option<Self> {
        let text = match json {
            Json::String(text) => text.trim().to_owned(),
            Json::Number(number) => number.to_string(),
            Json::Bool(flag) => flag.to_string(),
            _ => return None,
        };
        Some(match kind {
            Kind::BigInt | Kind::SmallInt => Self::Int(text.parse().ok()?),
            Kind::Text => Self::Text(text.to_lowercase()),
            Kind::Bool => Self::Bool(read_bool(&text)?),
            Kind::Date | Kind::DateTime => Self::Date(NaiveDate::parse_from_str(text.get(..10)?, "%Y-%m-%d").ok()?),
        })
    }
}

fn read_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

impl Filter {
    /// Whether a row passes; `get` gives its fields.
    pub(crate) fn passes(&self, get: &mut dyn FnMut(usize) -> Value) -> bool {
        match self {
            Self::All(filters) => filters.iter().all(|filter| filter.passes(get)),
            Self::Any(filters) => filters.iter().any(|filter| filter.passes(get)),
            Self::Field(field, test) => test.passes(&get(*field)),
        }
    }

    /// The only values that this field of a row that passes can have, where the filter names them.
    pub(crate) fn only(&self, of: usize) -> Option<&HashSet<Operand>> {
        match self {
            Self::All(filters) => filters.iter().find_map(|filter| filter.only(of)),
            Self::Field(field, Test::List { operands, negated: false }) if *field == of => Some(operands),
            Self::Any(_) | Self::Field(..) => None,
        }
    }
}

impl Test {
    /// Null passes `Null` only, as in SQL.
    fn passes(&self, value: &Value) -> bool {
        if let Self::Null { wanted } = self {
            return *wanted == (*value == Value::Null);
        }
        let Some(own) = Operand::of(value) else { return false };
        match self {
            Self::Compare(comparison, operand) => comparison.holds(own.cmp(operand)),
            Self::Between { low, high, inclusive, negated } => {
                let inside = if *inclusive { own >= *low && own <= *high } else { own > *low && own < *high };
                inside != *negated
            }
            Self::List { operands, negated } => operands.contains(&own) != *negated,
            Self::Like { pattern, negated } => {
                let text: Vec<char> = as_text(&own).chars().collect();
                is_like(&text, pattern) != *negated
            }
            Self::Null { .. } => false,
        }
    }
}

fn as_text(operand: &Operand) -> String {
    match operand {
        Operand::Int(number) => number.to_string(),
        Operand::Bool(flag) => flag.to_string(),
        Operand::Date(date) => date.to_string(),
        Operand::Text(text) => text.clone(),
    }
}

/// `%` stands for any run of characters, `_` for one.
fn is_like(text: &[char], pattern: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['%', rest @ ..] => (0..=text.len()).any(|skipped| is_like(&text[skipped..], rest)),
        ['_', rest @ ..] => !text.is_empty() && is_like(&text[1..], rest),
        [first, rest @ ..] => text.first() == Some(first) && is_like(&text[1..], rest),
    }
}

/// The entry of a JSON object whose name is the same but for case.
fn entry<'a>(json: &'a Json, name: &str) -> Option<&'a Json> {
    json.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

impl Search {
    /// Reads a search body; an empty one asks for everything.
    pub(crate) fn read(body: &[u8], object: &dyn Object) -> Result<Self, SearchError> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        let json: Json = serde_json::from_slice(body).map_err(|_| SearchError::NotJson)?;
        let mut reader = Reader { object, names_year: false };
        let filter = entry(&json, "SearchCondition").filter(|json| !json.is_null());
        let filter = filter.map(|json| reader.condition(json)).transpose()?;
        let sort = entry(&json, "SearchSort").and_then(Json::as_array);
        let sort = sort.into_iter().flatten().map(|json| reader.sort(json)).collect::<Result<_, _>>()?;
        let year = entry(&json, "SearchParameters").and_then(|json| entry(json, "SchoolYearID"));
        let year = year.and_then(|json| Operand::read(json, Kind::BigInt));
        let year = match year {
            Some(Operand::Int(year)) => Some(year),
            _ => None,
        };
        Ok(Self { filter, sort, year, names_year: reader.names_year, text: json.to_string() })
    }
}

struct Reader<'a> {
    object: &'a dyn Object,
    names_year: bool,
}

impl Reader<'_> {
    /// `{"SearchConditionGroup": {…}}`, or one condition in its wrapper.
    fn condition(&mut self, json: &Json) -> Result<Filter, SearchError> {
        let wrapped = json.as_object().and_then(|map| map.iter().next()).ok_or(SearchError::NotACondition)?;
        match wrapped {
            (name, group) if name.eq_ignore_ascii_case("SearchConditionGroup") => self.group(group),
            (name, leaf) if name.to_ascii_lowercase().ends_with("searchcondition") => self.leaf(leaf),
            _ => Err(SearchError::NotACondition),
        }
    }

    fn group(&mut self, json: &Json) -> Result<Filter, SearchError> {
        let conditions = entry(json, "Conditions").and_then(Json::as_array).ok_or(SearchError::NotACondition)?;
        let filters = conditions.iter().map(|json| self.condition(json)).collect::<Result<Vec<_>, _>>()?;
        match entry(json, "ConditionGroupType").and_then(Json::as_str) {
            Some(kind) if kind.eq_ignore_ascii_case("Or") => Ok(Filter::Any(filters)),
            _ => Ok(Filter::All(filters)),
        }
    }

    fn field(&self, json: &Json) -> Result<usize, SearchError> {
        let name = entry(json, "FieldName").and_then(Json::as_str).ok_or(SearchError::NoFieldName)?;
        self.object.field(name).ok_or_else(|| SearchError::UnknownField(name.to_owned()))
    }

    fn sort(&self, json: &Json) -> Result<(usize, bool), SearchError> {
        let descending = entry(json, "Descending").and_then(Json::as_bool).unwrap_or(false);
        Ok((self.field(json)?, descending))
    }

    fn leaf(&mut self, json: &Json) -> Result<Filter, SearchError> {
        let field = self.field(json)?;
        let info = self.object.info(field);
        self.names_year |= info.name == "SchoolYearID";
        let kind = entry(json, "ConditionType").and_then(Json::as_str).ok_or(SearchError::UnknownType)?;
        let test = Leaf { json, kind: info.kind, name: info.name }.test(&kind.to_ascii_lowercase())?;
        Ok(Filter::Field(field, test))
    }
}

/// A condition on one field.
struct Leaf<'a> {
    json: &'a Json,
    kind: Kind,
    name: &'static str,
}

impl Leaf<'_> {
    fn test(&self, kind: &str) -> Result<Test, SearchError> {
        use Comparison::{Equal, Greater, GreaterEqual, Less, LessEqual, NotEqual};
        Ok(match kind {
            "equal" => Test::Compare(Equal, self.operand("Value")?),
            "notequal" => Test::Compare(NotEqual, self.operand("Value")?),
            "less" => Test::Compare(Less, self.operand("Value")?),
            "lessequal" => Test::Compare(LessEqual, self.operand("Value")?),
            "greater" => Test::Compare(Greater, self.operand("Value")?),
            "greaterequal" => Test::Compare(GreaterEqual, self.operand("Value")?),
            "null" => Test::Null { wanted: true },
            "notnull" => Test::Null { wanted: false },
            "list" => self.list(false)?,
            "notlist" => self.list(true)?,
            // Spelled as the SIS spells them.
            "betweeninclusive" => self.between(true, false)?,
            "notbetweninclusive" | "notbetweeninclusive" => self.between(true, true)?,
            "betweenexclusive" => self.between(false, false)?,
            "notbetwenexclusive" | "notbetweenexclusive" => self.between(false, true)?,
            other => self.like(other)?,
        })
    }

    fn operand(&self, name: &str) -> Result<Operand, SearchError> {
        let value = entry(self.json, name).and_then(|json| Operand::read(json, self.kind));
        value.ok_or(SearchError::BadValue(self.name))
    }

    fn list(&self, negated: bool) -> Result<Test, SearchError> {
        let list = entry(self.json, "List").and_then(Json::as_array).ok_or(SearchError::BadValue(self.name))?;
        let read = |json| Operand::read(json, self.kind).ok_or(SearchError::BadValue(self.name));
        Ok(Test::List { operands: list.iter().map(read).collect::<Result<_, _>>()?, negated })
    }

    /// The shape is not public: `LowValue` and `HighValue` here.
    fn between(&self, inclusive: bool, negated: bool) -> Result<Test, SearchError> {
        Ok(Test::Between { low: self.operand("LowValue")?, high: self.operand("HighValue")?, inclusive, negated })
    }

    fn like(&self, kind: &str) -> Result<Test, SearchError> {
        let (kind, negated) = kind.strip_prefix("not").map_or((kind, false), |kind| (kind, true));
        let value = entry(self.json, "Value").and_then(Json::as_str).unwrap_or_default().to_lowercase();
        let pattern = match kind {
            "like" => value,
            "begins" => format!("{value}%"),
            "contains" => format!("%{value}%"),
            "ends" => format!("%{value}"),
            _ => return Err(SearchError::UnknownType),
        };
        Ok(Test::Like { pattern: pattern.chars().collect(), negated })
    }
}
