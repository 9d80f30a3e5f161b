//! What the SIS says of itself: system, and the fields of an object. Fields not granted are left out.

use serde_json::{Map, Value as Json, json};

use crate::catalog::{self, Object};
use crate::quirks::Quirks;
use crate::world::View;
use crate::world::calendar::Year;
use crate::world::spell::numeric_year;

/// The answer of `GetSystemMetadata`.
pub(crate) fn system(view: &View<'_>) -> Json {
    let ending = numeric_year(view.world.today(), Year::CURRENT);
    let description = format!("{}-{ending}", ending - 1);
    json!({ "System": {
        "EntityID": 1, "Code": "SYS", "Name": "Lone Star ISD", "href": "/1",
        "Districts": [{
            "DistrictID": 1, "EntityID": 1, "Code": "LSI", "Name": "Lone Star ISD", "href": "/1",
            "SchoolYearCurrent": {
                "SchoolYearID": catalog::year_id(view, Year::CURRENT),
                "NumericYear": ending,
                "Description": description,
            },
            "FiscalYearCurrent": {
                "FiscalYearID": catalog::year_id(view, Year::CURRENT) + 40,
                "NumericYear": ending,
                "Description": description,
                "StartDate": format!("{}-07-01T00:00:00", ending - 1),
                "EndDate": format!("{ending}-06-30T00:00:00"),
            },
            "FiscalYearOldestOpen": {},
        }],
    }})
}

/// The fields of an object in an entity, its relationships and rules.
pub(crate) fn object(object: &dyn Object, entity: i64, quirks: &Quirks) -> Json {
    let mut map = Map::new();
    for info in (0..object.field_count()).map(|field| object.info(field)) {
        if quirks.grants.allows_field(object.name(), info.name, entity) {
            let attributes = json!({
                "Type": info.kind.word(),
                "PrimaryKey": info.name == object.key(),
                "Required": info.required,
                "ReadOnly": info.read_only,
            });
            map.insert(info.name.to_owned(), attributes);
        }
    }
    map.insert("Relationships".into(), relationships(object));
    map.insert("ValidationRules".into(), json!({}));
    Json::Object(map)
}

fn relationships(object: &dyn Object) -> Json {
    let entry = |link: &catalog::Link| {
        let attributes =
            json!({ "Type": "ManyToOne", "Module": link.module, "Object": link.object, "ForeignKey": link.key });
        (link.name.to_owned(), attributes)
    };
    Json::Object(object.links().iter().map(entry).collect())
}
