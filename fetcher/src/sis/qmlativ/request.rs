//! URLs and search bodies of Qmlativ (wire/skyward.md A2). Pure.

use reqwest::Method;
use rollcall_proto::id::PageNo;
use rollcall_store::{
    board::Ask,
    district::{Connection, QmlativRoot, SearchFieldsEncoding},
};
use serde_json::{Value, json};
use url::Url;

use super::objects::{YEAR, object};
use crate::session::Call;

/// `{base}/{root}/` and further segments.
fn under_root(connection: &Connection, segments: &[&str]) -> Url {
    let mut url = connection.base_url.clone();
    url.set_query(None);
    url.set_fragment(None);
    let root = match connection.root {
        QmlativRoot::Custom => "Custom",
        QmlativRoot::Generic => "Generic",
    };
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().push(root).extend(segments);
    }
    url
}

/// Metadata of the whole system: the connection test.
pub(super) fn system_metadata(connection: &Connection) -> Call {
    let url = under_root(connection, &["GetSystemMetadata"]);
    Call { method: Method::GET, url, body: None, what: "GetSystemMetadata".to_owned() }
}

/// Fields of an object, as far as granted.
pub(super) fn field_metadata(connection: &Connection, entity: i64, resource: &str) -> Call {
    let (module, object) = resource.split_once('/').unwrap_or((resource, ""));
    let url = under_root(connection, &[&entity.to_string(), module, object]);
    Call { method: Method::GET, url, body: None, what: format!("the fields of {resource} in entity {entity}") }
}

/// One page of a listing. Every part is sent with every page: `Paging.Next` carries none of it.
pub(super) fn search(connection: &Connection, ask: &Ask, page: PageNo, size: u32) -> Call {
    let (module, object) = ask.resource.split_once('/').unwrap_or((&ask.resource, ""));
    let entity = entity_of(connection, ask);
    let segments = [&entity.to_string(), module, object, &page.0.to_string(), &size.to_string()];
    let mut url = under_root(connection, &segments.map(|segment| segment as &str));
    add_fields(&mut url, connection.search_fields, &ask.fields);
    if let Some(year) = &ask.school_year {
        url.query_pairs_mut().append_pair(YEAR, year);
    }
    Call { method: Method::POST, url, body: Some(search_body(ask)), what: what(ask, connection, page) }
}

/// What [`search`] asks for, in words.
pub(super) fn what(ask: &Ask, connection: &Connection, page: PageNo) -> String {
    let entity = entity_of(connection, ask);
    format!("{} page {} of entity {entity}{}", ask.resource, page.0, year_words(ask))
}

fn entity_of(connection: &Connection, ask: &Ask) -> i64 {
    ask.entity.or_else(|| connection.entities.first().copied()).unwrap_or(1)
}

fn year_words(ask: &Ask) -> String {
    ask.school_year.as_ref().map_or_else(String::new, |year| format!(", school year {year}"))
}

fn add_fields(url: &mut Url, encoding: SearchFieldsEncoding, fields: &[String]) {
    let mut query = url.query_pairs_mut();
    for (index, field) in fields.iter().enumerate() {
        match encoding {
            SearchFieldsEncoding::Repeated => query.append_pair("searchFields", field),
            SearchFieldsEncoding::Indexed => query.append_pair(&format!("searchFields[{index}]"), field),
        };
    }
}

/// Condition, sort by primary key, and the context year.
fn search_body(ask: &Ask) -> Value {
    let key = ask.fields.first().map_or("", String::as_str);
    let mut body = json!({
        "SearchCondition": condition(ask, key),
        "SearchSort": [{"FieldName": key, "Descending": false}],
    });
    if let Some(year) = &ask.school_year {
        body["SearchParameters"] = json!({YEAR: year});
    }
    body
}

fn condition(ask: &Ask, key: &str) -> Value {
    let ids = ask.ids.as_ref().map(|filter| {
        let values: Vec<Value> = filter.ids.iter().map(|id| number_or_text(id)).collect();
        json!({"LongSearchCondition": {"FieldName": filter.field, "ConditionType": "List", "List": values}})
    });
    let has_year = object(&ask.resource).is_none_or(|object| object.per_year);
    let year = ask.school_year.as_ref().filter(|_| has_year).map(|year| {
        json!({"LongSearchCondition": {"FieldName": YEAR, "ConditionType": "Equal", "Value": number_or_text(year)}})
    });
    match (ids, year) {
        (Some(ids), Some(year)) => {
            json!({"SearchConditionGroup": {"ConditionGroupType": "And", "Conditions": [ids, year]}})
        }
        (Some(single), None) | (None, Some(single)) => single,
        // "Everything": a search without any condition has not been seen on a real server.
        (None, None) => json!({"LongSearchCondition": {"FieldName": key, "ConditionType": "NotNull"}}),
    }
}

fn number_or_text(text: &str) -> Value {
    text.parse::<i64>().map_or_else(|_| Value::from(text), Value::from)
}

#[cfg(test)]
mod tests {
    use rollcall_store::board::IdFilter;

    use super::*;

    fn connection(extra: &Value) -> Connection {
        let mut text = json!({"kind": "skyward-qmlativ", "base_url": "https://x.example/XAPI/", "client_id": "k"});
        text.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value(text).unwrap()
    }

    fn ask() -> Ask {
        Ask {
            resource: "Enrollment/EntryWithdrawal".to_owned(),
            fields: vec!["EntryWithdrawalID".to_owned(), "StudentID".to_owned()],
            entity: Some(3),
            school_year: Some("7".to_owned()),
            ..Ask::default()
        }
    }

    #[test]
    fn everything_is_sent_with_every_page() {
        let call = search(&connection(&json!({})), &ask(), PageNo(4), 500);
        assert_eq!(call.method, Method::POST);
        assert_eq!(
            call.url.as_str(),
            "https://x.example/XAPI/Custom/3/Enrollment/EntryWithdrawal/4/500?searchFields%5B0%5D=EntryWithdrawalID\
             &searchFields%5B1%5D=StudentID&SchoolYearID=7"
        );
        let expected = json!({
            "SearchCondition":
                {"LongSearchCondition": {"FieldName": "SchoolYearID", "ConditionType": "Equal", "Value": 7}},
            "SearchSort": [{"FieldName": "EntryWithdrawalID", "Descending": false}],
            "SearchParameters": {"SchoolYearID": "7"},
        });
        assert_eq!(call.body, Some(expected));
        assert_eq!(call.what, "Enrollment/EntryWithdrawal page 4 of entity 3, school year 7");
    }

    #[test]
    fn fields_may_be_repeated_and_the_root_generic() {
        let call = search(&connection(&json!({"root": "Generic", "search_fields": "repeated"})), &ask(), PageNo(1), 10);
        assert_eq!(
            call.url.as_str(),
            "https://x.example/XAPI/Generic/3/Enrollment/EntryWithdrawal/1/10?searchFields=EntryWithdrawalID\
             &searchFields=StudentID&SchoolYearID=7"
        );
    }

    #[test]
    fn a_second_look_names_its_ids() {
        let ids = Some(IdFilter { field: "StudentID".to_owned(), ids: vec!["25".to_owned(), "x".to_owned()] });
        let list =
            json!({"LongSearchCondition": {"FieldName": "StudentID", "ConditionType": "List", "List": [25, "x"]}});
        let alone =
            search(&connection(&json!({})), &Ask { ids: ids.clone(), school_year: None, ..ask() }, PageNo(1), 9);
        assert_eq!(alone.body.unwrap()["SearchCondition"], list);
        let both = search(&connection(&json!({})), &Ask { ids, ..ask() }, PageNo(1), 9);
        let group = &both.body.unwrap()["SearchCondition"]["SearchConditionGroup"];
        assert_eq!(group["ConditionGroupType"], "And");
        assert_eq!(group["Conditions"][0], list);
    }

    #[test]
    fn without_a_condition_everything_is_asked_for_by_key() {
        let ask = Ask { resource: "SkySys/State".to_owned(), fields: vec!["StateID".to_owned()], ..Ask::default() };
        let body = search(&connection(&json!({"entities": [5]})), &ask, PageNo(1), 9);
        assert!(body.url.path().contains("/Custom/5/SkySys/State/1/9"));
        let condition = json!({"LongSearchCondition": {"FieldName": "StateID", "ConditionType": "NotNull"}});
        assert_eq!(body.body.unwrap()["SearchCondition"], condition);
    }
}
