//! Persons: names, phones, e-mails and addresses of a `NameID`, put into a student's view, with the keys that lead to no row.

use std::borrow::Cow;

use crate::{
    fragment::{Cells, Kind, Row, column},
    load::Source,
    missing::{COUNTY, Missing, PLACE, Part, STATE, STREET, WHOLE, follow},
    view::{AddressView, EmailView, Id, PersonView, PhoneView, StudentView},
};

/// A person's name row, if the listing holds it.
pub(super) fn name_row(source: &Source, name: Option<i64>) -> Option<Row<'_>> {
    source.follow(Kind::Name, name)
}

/// Adds a person to `view`, with the names that `fallback` holds where the person has no row of their own.
pub(super) fn person<'a>(
    source: &'a Source,
    name: Option<i64>,
    fallback: [Option<&'a str>; 3],
    view: &mut StudentView<'a>,
) -> PersonView<'a> {
    let Some(id) = name else { return PersonView { names: fallback, ..PersonView::NOBODY } };
    let own = follow(source, Kind::Name, name, Part::Name, &mut view.missing);
    let names = own.map_or(fallback, |row| {
        let [first, middle, last] = fallback;
        [
            row.text(column::Name::FirstName).or(first),
            row.text(column::Name::MiddleName).or(middle),
            row.text(column::Name::LastName).or(last),
        ]
    });
    let starts = (view.phones.len(), view.emails.len(), view.addresses.len());
    let missing = &mut view.missing;
    each_once(source, Kind::NamePhone, id, |row| view.phones.extend(phone(source, row, missing)));
    each_once(source, Kind::NameEmail, id, |row| view.emails.extend(email(source, row, missing)));
    each_once(source, Kind::NameAddress, id, |row| view.addresses.push(address(source, row, missing)));
    PersonView {
        name_id: Id::Number(id),
        names,
        phones: starts.0..view.phones.len(),
        emails: starts.1..view.emails.len(),
        addresses: starts.2..view.addresses.len(),
    }
}

/// Calls `take` with each row of a lookup key; of rows with the same primary key (told by several entities, or twice while
/// paging) only with the last.
pub(super) fn each_once<'a>(source: &'a Source, kind: Kind, key: i64, mut take: impl FnMut(Row<'a>)) {
    let places = source.find(kind, key);
    match places {
        [] => {}
        [only] => take(source.row(*only)),
        _ => {
            let mut rows: Vec<(i64, Row<'a>)> =
                places.iter().map(|place| source.row(*place)).map(|r| (r.key(), r)).collect();
            rows.sort_by_key(|(key, _)| *key);
            for (number, (key, row)) in rows.iter().enumerate() {
                if rows.get(number + 1).is_none_or(|(next, _)| next != key) {
                    take(*row);
                }
            }
        }
    }
}

fn rank(rank: Option<i64>) -> i32 {
    rank.and_then(|rank| i32::try_from(rank).ok()).unwrap_or(i32::MAX)
}

fn phone<'a>(source: &'a Source, row: Row<'a>, missing: &mut Vec<Missing>) -> Option<PhoneView<'a>> {
    let part = Part::PhoneKind(row.key());
    let kind = follow(source, Kind::PhoneType, row.number(column::NamePhone::PhoneTypeId), part, missing);
    Some(PhoneView {
        id: Id::Number(row.key()),
        rank: rank(row.number(column::NamePhone::Rank)),
        kind: kind.and_then(|row| row.text(column::PhoneType::Description).or(row.text(column::PhoneType::Code))),
        number: row.text(column::NamePhone::PhoneNumber)?,
        extension: row.text(column::NamePhone::Extension),
        confidential: row.flag(column::NamePhone::IsConfidential).unwrap_or_default(),
    })
}

fn email<'a>(source: &'a Source, row: Row<'a>, missing: &mut Vec<Missing>) -> Option<EmailView<'a>> {
    let part = Part::EmailKind(row.key());
    let kind = follow(source, Kind::EmailType, row.number(column::NameEmail::EmailTypeId), part, missing);
    Some(EmailView {
        id: Id::Number(row.key()),
        rank: rank(row.number(column::NameEmail::Rank)),
        kind: kind.and_then(|row| row.text(column::EmailType::Description).or(row.text(column::EmailType::Code))),
        address: row.text(column::NameEmail::EmailAddress)?,
    })
}

fn address<'a>(source: &'a Source, link: Row<'a>, missing: &mut Vec<Missing>) -> AddressView<'a> {
    let part = Part::Lines(link.key(), WHOLE);
    let address = follow(source, Kind::Address, link.number(column::NameAddress::AddressId), part, missing);
    AddressView {
        id: Id::Number(link.key()),
        physical: link.flag(column::NameAddress::IsPhysical).unwrap_or_default(),
        mailing: link.flag(column::NameAddress::IsMailing).unwrap_or_default(),
        lines: address.map(|row| lines(source, &row.read(), link.key(), missing)).unwrap_or_default(),
    }
}

/// Of the address with this `link`.
fn lines<'a>(source: &'a Source, row: &Cells<'a>, link: i64, missing: &mut Vec<Missing>) -> [Option<Cow<'a, str>>; 7] {
    let part = |lines| Part::Lines(link, lines);
    let zip = follow(source, Kind::Zip, row.cell(column::Address::ZipId).number(), part(PLACE), missing);
    let state_of = |zip: Row<'a>| follow(source, Kind::State, zip.number(column::Zip::StateId), part(STATE), missing);
    let state = zip.and_then(state_of);
    let county = follow(source, Kind::County, row.cell(column::Address::CountyId).number(), part(COUNTY), missing);
    [
        street_line(source, row, part(STREET), missing),
        row.cell(column::Address::AddressLine2).text().map(Cow::Borrowed),
        zip.and_then(|zip| zip.text(column::Zip::City)).map(Cow::Borrowed),
        state.and_then(|state| state.text(column::State::Code)).map(Cow::Borrowed),
        zip.and_then(|zip| zip_code(zip, row)),
        county.and_then(|county| county.text(column::County::Name)).map(Cow::Borrowed),
        zip.and_then(|zip| zip.text(column::Zip::CountryCode)).map(Cow::Borrowed),
    ]
}

fn zip_code<'a>(zip: Row<'a>, address: &Cells<'a>) -> Option<Cow<'a, str>> {
    let code = zip.text(column::Zip::ZipCode)?;
    let add_on = address.cell(column::Address::ZipCodeAddOn).text();
    Some(add_on.map_or(Cow::Borrowed(code), |add_on| Cow::Owned(format!("{code}-{add_on}"))))
}

/// The line as the SIS formats it; where that was not granted, as its parts spell it.
fn street_line<'a>(
    source: &'a Source,
    row: &Cells<'a>,
    part: Part,
    missing: &mut Vec<Missing>,
) -> Option<Cow<'a, str>> {
    let formatted =
        row.cell(column::Address::StreetLineWithUnit).text().or(row.cell(column::Address::StreetLine).text());
    if let Some(line) = formatted {
        return Some(Cow::Borrowed(line));
    }
    if let Some(line) = from_parts(source, row, part, missing) {
        return Some(Cow::Owned(line));
    }
    let post_box = row.cell(column::Address::PoBox).text().map(|number| Cow::Owned(format!("PO Box {number}")));
    post_box.or(row.cell(column::Address::Freeform).text().map(Cow::Borrowed))
}

fn from_parts(source: &Source, row: &Cells<'_>, part: Part, missing: &mut Vec<Missing>) -> Option<String> {
    let street = follow(source, Kind::Street, row.cell(column::Address::StreetId).number(), part, missing)?;
    let names = [column::Street::FormattedStreet, column::Street::NameWithDirection, column::Street::Name];
    let name = names.into_iter().find_map(|column| street.text(column))?;
    let parts =
        [row.cell(column::Address::StreetNumber).text(), Some(name), row.cell(column::Address::UnitNumber).text()];
    Some(parts.into_iter().flatten().collect::<Vec<_>>().join(" "))
}
