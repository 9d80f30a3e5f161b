#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::fragment::{Page, column};

fn page(kind: Kind, json: &str) -> (Decoded, Page) {
    let decoded = decode(kind, None, json.as_bytes()).unwrap();
    let page = Page::open(&decoded.fragments).unwrap();
    (decoded, page)
}

fn error(kind: Kind, body: &[u8]) -> DecodeError {
    decode(kind, None, body).unwrap_err()
}

#[test]
fn a_page_as_the_server_writes_it() {
    let (decoded, page) = page(
        Kind::EntryWithdrawal,
        r#"{ "Paging": { "Next": "/Custom/1/Enrollment/EntryWithdrawal/2/500", "TotalCount": 812, "TotalPages": 2 },
             "Objects": [
               {"EntryWithdrawalID":25,"StudentID":"7","EntityID":1,"SchoolYearID":9,"StartDate":"2025-08-14T00:00:00",
                "EndDate":null,"Comment":{"x":[1,2]},"IsNoShow":"False","IsDefaultEntity":1},
               {"StudentID":8,"EntryWithdrawalID":26,"EntityID":1,"SchoolYearID":9,"StartDate":"8/14/2025",
                "EndDate":"never","WithdrawalCodeID":3}
             ] }"#,
    );
    assert_eq!((decoded.tally.rows, decoded.tally.unreadable, decoded.claimed_total), (2, 1, Some(812)));
    let rows: Vec<_> = page.offsets().map(|at| page.row(at)).collect();
    assert_eq!(rows[0].number(column::EntryWithdrawal::StudentId), Some(7));
    assert_eq!(rows[0].flag(column::EntryWithdrawal::IsNoShow), Some(false));
    assert_eq!(rows[0].flag(column::EntryWithdrawal::IsDefaultEntity), Some(true));
    assert_eq!(rows[0].cell(column::EntryWithdrawal::EndDate), Cell::Null);
    assert_eq!(rows[1].key(), 26);
    assert_eq!(rows[1].cell(column::EntryWithdrawal::EndDate), Cell::Unreadable);
    assert_eq!(rows[0].date(column::EntryWithdrawal::StartDate), rows[1].date(column::EntryWithdrawal::StartDate));
}

/// The field that the district names is kept where it is asked for, in whatever case the server writes it.
#[test]
fn the_named_withdrawal_date_is_kept() {
    let asked = ["EntryWithdrawalID", "enddate", "LastDayTX"].map(str::to_owned);
    assert_eq!(Kind::EntryWithdrawal.named_date(&asked), Some("LastDayTX"));
    assert_eq!(Kind::EntryWithdrawal.named_date(&asked[..2]), None);
    assert_eq!(Kind::Student.named_date(&asked), None);
    let body = br#"{"Objects":[{"EntryWithdrawalID":1,"StudentID":7,"LASTDAYTX":"2025-10-01","Other":"2025-10-02"},
                              {"EntryWithdrawalID":2,"StudentID":7,"LASTDAYTX":null,"Other":"2025-10-02"}]}"#;
    let dates = |named: Option<&str>| {
        let page = Page::open(&decode(Kind::EntryWithdrawal, named, body).unwrap().fragments).unwrap();
        let dates: Vec<_> = page.offsets().map(|at| page.row(at).date(column::EntryWithdrawal::NamedDate)).collect();
        (dates, page.tally.seen >> column::EntryWithdrawal::NamedDate as usize & 1)
    };
    assert_eq!(dates(Some("LastDayTX")), (vec!["2025-10-01".parse().ok(), None], 1));
    assert_eq!(dates(None), (vec![None, None], 0));
}

#[test]
fn an_absent_column_is_told_from_a_null_one() {
    let (decoded, _) = page(Kind::Name, r#"{"Objects":[{"NameID":1,"FirstName":null},{"NameID":2,"LastName":"B"}]}"#);
    let bit = |column: column::Name| decoded.tally.seen >> (column as usize) & 1;
    assert_eq!((bit(column::Name::FirstName), bit(column::Name::LastName), bit(column::Name::BirthDate)), (1, 1, 0));
}

#[test]
fn an_empty_listing_is_a_page_without_rows() {
    for json in [r#"{"Objects":[]}"#, r#"{"Paging":null,"Objects":[]}"#, "\u{feff}{\"Paging\":{},\"Objects\":[ ]}\n"] {
        assert_eq!(page(Kind::State, json).0.tally.rows, 0);
    }
}

#[test]
fn what_is_no_listing_says_what_it_is_and_where() {
    let cases: &[(&[u8], DecodeClass)] = &[
        (b"", DecodeClass::Empty),
        (b"  \n", DecodeClass::Empty),
        (b"\n<!DOCTYPE html><html>", DecodeClass::Html),
        (br#"{"Objects":[{"StateID":1"#, DecodeClass::Truncated),
        (br#"{"Objects":[{"StateID":1}]"#, DecodeClass::Truncated),
        (br#"{"Objects":[{"StateID":1}]} x"#, DecodeClass::Syntax),
        (br#"{"Objects":[{"StateID":1,}]}"#, DecodeClass::Syntax),
        (b"not json", DecodeClass::Syntax),
        (br#"{"error":"Token has expired"}"#, DecodeClass::Shape),
        (br#"[{"StateID":1}]"#, DecodeClass::Shape),
        (br#"{"Objects":{"StateID":1}}"#, DecodeClass::Shape),
        (br#"{"Objects":[1]}"#, DecodeClass::Shape),
        (br#"{"Objects":null}"#, DecodeClass::Shape),
        (br#"{"Objects":[],"Objects":[]}"#, DecodeClass::Shape),
        (br#"{"Objects":[{"StateID":1},{"Code":"TX"}]}"#, DecodeClass::RowWithoutKey),
        (br#"{"Objects":[{"StateID":"x"}]}"#, DecodeClass::RowWithoutKey),
        (b"{\"Objects\":[{\"StateID\":1,\"Code\":\"\xff\"}]}", DecodeClass::Syntax),
    ];
    for (body, class) in cases {
        assert_eq!(error(Kind::State, body).class, *class, "{}", String::from_utf8_lossy(body));
    }
    let located = error(Kind::State, b"{\"Objects\":[\n  {\"StateID\":1,\"Code\":oops}]}");
    assert_eq!((located.class, located.line), (DecodeClass::Syntax, 2));
    assert_eq!(located.to_string(), format!("the answer is not JSON, line 2, column {}", located.column));
}

#[test]
fn a_row_that_says_not_whose_it_is_spoils_a_page_statuses_rest_on() {
    let body = br#"{"Objects":[{"EntryWithdrawalID":1,"StudentID":null,"StartDate":"2025-08-14"}]}"#;
    assert_eq!(error(Kind::EntryWithdrawal, body).class, DecodeClass::RowWithoutKey);
    let (decoded, _) = page(Kind::NamePhone, r#"{"Objects":[{"NamePhoneID":1,"NameID":null}]}"#);
    assert_eq!(decoded.tally.rows, 1);
}

#[test]
fn control_characters_are_taken_out_and_counted() {
    let (decoded, page) =
        page(Kind::Name, r#"{"Objects":[{"NameID":1,"FirstName":"A\u0000na","LastName":"\ud83d\ude00"}]}"#);
    let row = page.row(page.offsets().next().unwrap());
    assert_eq!((row.text(column::Name::FirstName), row.text(column::Name::LastName)), (Some("Ana"), Some("😀")));
    assert_eq!(decoded.tally.cleaned, 1);
}

#[test]
fn errors_never_repeat_a_value() {
    for body in [
        r#"{"Objects":[{"StateID":"Secretname"}]}"#,
        r#"{"Objects":[{"StateID":1,"Code":Secretname}]}"#,
        r#"{"Objects":"Secretname"}"#,
        r#"{"Objects":["Secretname"]}"#,
    ] {
        let error = error(Kind::State, body.as_bytes());
        assert!(!format!("{error} {error:?}").contains("Secret"), "{error}");
    }
}

proptest! {
    #[test]
    fn any_bytes_end_in_a_page_or_an_error(body in prop::collection::vec(any::<u8>(), 0..200)) {
        for kind in Kind::ALL {
            let _ = decode(*kind, None, &body);
        }
    }

    #[test]
    fn a_page_cut_anywhere_is_an_error(cut in 0_usize..95) {
        let whole = br#"{"Objects":[{"StateID":1,"Code":"TX"},{"StateID":2,"Code":"OK"}],"Paging":{"Next":null}}"#;
        prop_assert!(decode(Kind::State, None, &whole[..cut.min(whole.len() - 1)]).is_err());
    }

    #[test]
    fn the_order_of_columns_does_not_matter(flips in prop::collection::vec(any::<bool>(), 1..20)) {
        let row = |flip: &bool| if *flip { r#"{"Code":"TX","StateID":5,"X":1}"# } else { r#"{"StateID":5,"Code":"TX"}"# };
        let rows: Vec<&str> = flips.iter().map(row).collect();
        let (_, page) = page(Kind::State, &format!("{{\"Objects\":[{}]}}", rows.join(",")));
        for at in page.offsets() {
            prop_assert_eq!((page.row(at).key(), page.row(at).text(column::State::Code)), (5, Some("TX")));
        }
    }
}

/// Found by fuzzing.
#[test]
fn a_total_below_zero_says_nothing() {
    let (decoded, _) = page(Kind::Student, r#"{"Paging":{"TotalCount":-1},"Objects":[{"StudentID":1}]}"#);
    assert_eq!(decoded.claimed_total, None);
}
