//! The Generic and Custom API: what each call means. Grammar: wire facts of Qmlativ, parts A and B.

use axum::http::{Method, StatusCode};
use serde_json::{Map, Value as Json, json};

use crate::answer::Answer;
use crate::catalog::{self, Object};
use crate::edits::Rows;
use crate::listing::{self, Call, Order};
use crate::metadata;
use crate::paging::{self, PageCall};
use crate::quirks::Quirks;
use crate::render::{self, Columns};
use crate::search::Search;
use crate::state::Shared;
use crate::world::calendar::Year;

/// A call below the base URL, its token already judged.
pub(crate) struct ApiCall<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) quirks: &'a Quirks,
    pub(crate) method: &'a Method,
    /// Root, entity, module, object, …
    pub(crate) segments: &'a [&'a str],
    pub(crate) query: &'a str,
    pub(crate) parameters: Vec<(String, String)>,
    pub(crate) body: &'a [u8],
}

type Answered = Result<Answer, Answer>;

fn refuse(status: StatusCode, why: &str) -> Answer {
    Answer::error(status, why)
}

fn bad_request(why: impl std::fmt::Display) -> Answer {
    refuse(StatusCode::BAD_REQUEST, &why.to_string())
}

fn not_found() -> Answer {
    refuse(StatusCode::NOT_FOUND, "nothing here")
}

/// Answers the call.
pub(crate) fn answer(call: &ApiCall<'_>) -> Answer {
    call.dispatch().unwrap_or_else(|refusal| refusal)
}

impl<'a> ApiCall<'a> {
    /// The object a listing or single-row call is about: what faults and counts go by.
    pub(crate) fn object_name(&self) -> Option<&'a str> {
        (self.segments.len() >= 5).then(|| self.segments[3])
    }

    /// The page asked for.
    pub(crate) fn page(&self) -> Option<u64> {
        (self.segments.len() == 6).then(|| self.segments[4].parse().ok())?
    }

    fn dispatch(&self) -> Answered {
        let (root, rest) = self.segments.split_first().ok_or_else(not_found)?;
        self.check_root(root)?;
        match (self.method.as_str(), rest) {
            ("GET", [name]) if name.eq_ignore_ascii_case("GetSystemMetadata") => {
                Ok(Answer::value(&metadata::system(&self.shared.view(self.quirks))))
            }
            (_, [entity, rest @ ..]) => self.in_entity(root, self.entity(entity)?, rest),
            _ => Err(not_found()),
        }
    }

    fn check_root(&self, root: &str) -> Result<(), Answer> {
        let config = &self.shared.world.config;
        let granted = match root.to_ascii_lowercase().as_str() {
            "generic" => config.generic,
            "custom" => config.custom,
            _ => return Err(not_found()),
        };
        if granted { Ok(()) } else { Err(refuse(StatusCode::FORBIDDEN, "this access does not cover the API")) }
    }

    fn entity(&self, segment: &str) -> Result<i64, Answer> {
        let entity = segment.parse().map_err(|_| bad_request("the entity id is not a number"))?;
        let is_there = catalog::is_entity(&self.shared.view(self.quirks), entity);
        if is_there { Ok(entity) } else { Err(refuse(StatusCode::FORBIDDEN, "no access to this entity")) }
    }

    fn in_entity(&self, root: &str, entity: i64, rest: &[&str]) -> Answered {
        match (self.method.as_str(), rest) {
            ("GET", [module]) => self.module(root, entity, module),
            (method, [module, name, rest @ ..]) => {
                let object = self.object(module, name)?;
                match (method, rest) {
                    ("GET", []) => Ok(Answer::value(&metadata::object(object, entity, self.quirks))),
                    ("PUT", []) => self.create(object, entity),
                    ("GET", [id]) => self.get_one(object, entity, read_id(id)?),
                    ("POST", [id]) => self.update(object, entity, read_id(id)?),
                    ("DELETE", [id]) => self.delete(object, entity, read_id(id)?),
                    ("GET" | "POST", [page, size]) => {
                        let path = format!("/{root}/{entity}/{}/{}", object.module(), object.name());
                        self.list(object, entity, &path, (page, size))
                    }
                    _ => Err(refuse(StatusCode::METHOD_NOT_ALLOWED, "the verb does not fit the path")),
                }
            }
            _ => Err(not_found()),
        }
    }

    fn module(&self, root: &str, entity: i64, module: &str) -> Answered {
        let granted = |object: &&dyn Object| self.quirks.grants.allows_object(object.name());
        let objects: Map<String, Json> = catalog::of_module(module)
            .filter(granted)
            .map(|object| {
                let href = format!("/{root}/{entity}/{}/{}", object.module(), object.name());
                (object.name().to_owned(), json!({ "href": href }))
            })
            .collect();
        if objects.is_empty() { Err(not_found()) } else { Ok(Answer::value(&Json::Object(objects))) }
    }

    fn object(&self, module: &str, name: &str) -> Result<&'static dyn Object, Answer> {
        let object = catalog::find(module, name).ok_or_else(not_found)?;
        if !self.quirks.grants.allows_object(object.name()) {
            return Err(refuse(StatusCode::FORBIDDEN, &format!("no access to {}", object.name())));
        }
        Ok(object)
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// `searchFields=A&searchFields=B`, or `searchFields[0]=A&searchFields[1]=B`.
    fn search_fields(&self) -> Vec<String> {
        let mut fields: Vec<(usize, &str)> = Vec::new();
        for (key, value) in &self.parameters {
            let key = key.to_ascii_lowercase();
            let Some(index) = key.strip_prefix("searchfields") else { continue };
            let index = index.strip_prefix('[').and_then(|index| index.strip_suffix(']')?.parse().ok());
            fields.push((index.unwrap_or(fields.len()), value));
        }
        fields.sort_by_key(|(index, _)| *index);
        fields.into_iter().map(|(_, field)| field.to_owned()).collect()
    }

    fn columns(&self, object: &dyn Object, entity: i64) -> Result<Columns, Answer> {
        Columns::resolve((object, entity), &self.search_fields(), self.quirks).map_err(|denied| {
            let status = if denied.forbidden { StatusCode::FORBIDDEN } else { StatusCode::BAD_REQUEST };
            refuse(status, &denied.to_string())
        })
    }

    fn call(&self, object: &dyn Object, entity: i64, search: Search) -> Result<Call, Answer> {
        let year = self.parameter("SchoolYearID").map(str::parse).transpose();
        let year = year.map_err(|_| bad_request("SchoolYearID is not a number"))?;
        Ok(Call { entity, year, search, columns: self.columns(object, entity)? })
    }

    /// Runs with the object's rows, edits included.
    fn with_rows<T>(&self, object: &dyn Object, use_rows: impl FnOnce(&Rows<'_>) -> T) -> T {
        let edits = self.shared.edits(object.name());
        use_rows(&Rows { view: self.shared.view(self.quirks), object, edits: edits.as_deref() })
    }

    fn list(&self, object: &dyn Object, entity: i64, path: &str, (page, size): (&str, &str)) -> Answered {
        let page: u64 = page.parse().ok().filter(|&page| page > 0).ok_or_else(|| bad_request("pages count from 1"))?;
        let size = size.parse().ok().filter(|&size| size > 0).ok_or_else(|| bad_request("the page size is wrong"))?;
        let body = if *self.method == Method::POST { self.body } else { b"" };
        let call = self.call(object, entity, Search::read(body, object).map_err(bad_request)?)?;
        let at = PageCall { object: object.name(), page, size, path, query: self.query };
        let is_ordered = !call.search.sort.is_empty() || self.quirks.paging.stable_order;
        let order = if is_ordered { Order::SORTED } else { Order::arbitrary(self.shared.number_call()) };
        self.with_rows(object, |rows| {
            let scope = call.scope(object, self.current_year(), self.quirks);
            let make = || listing::select(rows, scope, &call.search);
            let slots = self.shared.selections().get(call.key(object, scope), make);
            if let Some(status) = paging::refused(&at, slots.len(), &self.quirks.paging) {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::NOT_FOUND);
                return Err(refuse(status, "there is no such page"));
            }
            Ok(Answer::json(listing::page(rows, &call, &at, &slots, order)))
        })
    }

    fn current_year(&self) -> i64 {
        catalog::year_id(&self.shared.view(self.quirks), Year::CURRENT)
    }

    /// The slot of a row by its key, whatever its year.
    fn find(&self, rows: &Rows<'_>, entity: i64, key: i64) -> Result<u32, Answer> {
        let scope = catalog::Scope { entity, year: None };
        let name = format!("{}|{entity}|by-key", rows.object.name());
        let slots = self.shared.selections().get(name, || rows.select(scope, None));
        listing::find(rows, &slots, key).ok_or_else(|| refuse(StatusCode::NOT_FOUND, "no such row"))
    }

    fn get_one(&self, object: &dyn Object, entity: i64, id: i64) -> Answered {
        let columns = self.columns(object, entity)?;
        self.with_rows(object, |rows| {
            let slot = self.find(rows, entity, id)?;
            let mut out = Vec::new();
            render::row(&mut out, rows, slot, &columns);
            Ok(Answer::json(out))
        })
    }

    /// The fields of `DataObject`, by their own names.
    fn data_object(&self, object: &dyn Object) -> Result<Map<String, Json>, Answer> {
        if !object.is_writable() {
            return Err(refuse(StatusCode::METHOD_NOT_ALLOWED, &format!("{} cannot be written", object.name())));
        }
        let json: Json = serde_json::from_slice(self.body).map_err(|_| bad_request("the body is not JSON"))?;
        let given = json.get("DataObject").and_then(Json::as_object).ok_or_else(|| bad_request("no DataObject"))?;
        given.iter().map(|(name, value)| own_name(object, name).map(|name| (name, value.clone()))).collect()
    }

    fn create(&self, object: &'static dyn Object, entity: i64) -> Answered {
        let given = self.data_object(object)?;
        self.columns(object, entity)?;
        if let Some(field) = listing::missing_field(object, &given) {
            return Err(bad_request(format!("{field} is required")));
        }
        let id = self.shared.edit(object.name(), |edits| edits.create(given));
        self.get_one(object, entity, id)
    }

    fn update(&self, object: &'static dyn Object, entity: i64, id: i64) -> Answered {
        let given = self.data_object(object)?;
        self.columns(object, entity)?;
        self.with_rows(object, |rows| self.find(rows, entity, id))?;
        self.shared.edit(object.name(), |edits| edits.change(id, given));
        self.get_one(object, entity, id)
    }

    fn delete(&self, object: &'static dyn Object, entity: i64, id: i64) -> Answered {
        if !object.is_writable() {
            return Err(refuse(StatusCode::METHOD_NOT_ALLOWED, &format!("{} cannot be written", object.name())));
        }
        self.with_rows(object, |rows| self.find(rows, entity, id))?;
        self.shared.edit(object.name(), |edits| edits.delete(id));
        Ok(Answer::value(&json!({})))
    }
}

fn read_id(segment: &str) -> Result<i64, Answer> {
    segment.parse().map_err(|_| bad_request("the id is not a number"))
}

fn own_name(object: &dyn Object, name: &str) -> Result<String, Answer> {
    let field = object.field(name).ok_or_else(|| bad_request(format!("there is no field {name}")))?;
    let info = object.info(field);
    if info.read_only {
        return Err(bad_request(format!("{} is read-only", info.name)));
    }
    Ok(info.name.to_owned())
}
