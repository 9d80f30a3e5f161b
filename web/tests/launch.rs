//! A launch from the click to the file, as platforms differ, and who may see what.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use chrono::TimeDelta;
use reqwest::{StatusCode, header};
use rollcall_proto::id::{ConnectionNo, StudentId};
use rollcall_sandbox::lti::Manners;
use rollcall_store::{
    district::{ConnectionSecrets, StaffScope},
    document::{Author, NewDocument, SaveMode},
    lti::{Namer, Place, StaffAccess, StudentScope, UserAccess},
};

use crate::support::{Browser, HOSTILE_HTML, LEARNER, OTHER_STUDENT, PROGRAM, STUDENT, Site, TEACHER, attribute, now};

/// A site with a district, a platform and a document.
macro_rules! house {
    ($site:ident, $district:ident, $platform:ident, $browser:ident) => {
        let $site = Site::start().await;
        let $district = $site.district("lone-star").await;
        $site.document(&$district, "IEP-1", Some(HOSTILE_HTML.as_bytes())).await;
        let $platform = $site.platform(&$district).await;
        let mut $browser = Browser::new();
    };
}

#[tokio::test]
async fn a_click_on_a_flag_shows_the_newest_document() {
    house!(site, district, platform, browser);
    let page = browser.click(&site, &district, &platform, STUDENT).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("Ana &#60;b&#62;de&#60;/b&#62; Vries"), "names are escaped: {}", page.text);
    assert_eq!(page.header(header::CACHE_CONTROL), "no-store");
    assert_eq!(page.header(header::REFERRER_POLICY), "no-referrer");
    let policy = page.header(header::CONTENT_SECURITY_POLICY);
    assert!(policy.contains(&format!("frame-ancestors {}", platform.origin())), "{policy}");
    assert!(policy.contains("default-src 'none'") && !policy.contains("script-src"), "{policy}");
    assert!(!page.headers.contains_key(header::X_FRAME_OPTIONS));
    assert!(browser.cookies.is_empty(), "the launch's cookie is spent");

    let source = attribute(&page.text, "id=\"document\"", "src").unwrap();
    let file = site.config.launch_url(&district).join(&source).unwrap();
    let file_page = browser.get(&file).await;
    assert_eq!((file_page.status, file_page.text.as_str()), (StatusCode::OK, HOSTILE_HTML));
    assert_eq!(file_page.header(header::CONTENT_TYPE), "text/html; charset=utf-8");
    assert_eq!(file_page.header(header::CACHE_CONTROL), "no-store");
    let policy = file_page.header(header::CONTENT_SECURITY_POLICY);
    assert!(policy.starts_with("sandbox; default-src 'none'") && !policy.contains("allow-"), "{policy}");
    assert!(policy.contains(&format!("frame-ancestors 'self' {}", platform.origin())), "{policy}");

    let again = browser.get(&file).await;
    assert_eq!(again.status, StatusCode::GONE, "a ticket is good once");
    let style = attribute(&again.text, "rel=\"stylesheet\"", "href").unwrap();
    let style = browser.get(file.join(&style).unwrap()).await;
    assert_eq!((style.status, style.header(header::CONTENT_TYPE)), (StatusCode::OK, "text/css; charset=utf-8"));
    let views = site.views(&district).await;
    let shown = (STUDENT.to_owned(), Some("IEP-1".to_owned()), TEACHER.to_owned(), "shown".to_owned());
    assert_eq!(views, [shown]);
}

#[tokio::test]
async fn a_ticket_is_for_what_was_shown() {
    house!(site, district, platform, browser);
    let mut click = async || {
        let page = browser.click(&site, &district, &platform, STUDENT).await;
        let source = attribute(&page.text, "id=\"document\"", "src").unwrap();
        site.config.launch_url(&district).join(&source).unwrap()
    };
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let get = async |file: reqwest::Url| client.get(file).send().await.unwrap().status();

    let file = click().await;
    let head = client.head(file.clone()).send().await.unwrap();
    assert_eq!(head.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(get(file).await, StatusCode::OK, "a look at the headers uses no ticket up");

    let file = click().await;
    site.save_document(&district, "IEP-1", Some(b"%PDF-1.7\n%%EOF\n"), SaveMode::Upsert, |_| {}).await;
    assert_eq!(get(file).await, StatusCode::GONE, "it was replaced");

    let file = click().await;
    let nobody = UserAccess { students: StudentScope::Nobody, programs: Vec::new() };
    site.say(&district, "nurse-9", &nobody).await;
    assert_eq!(get(file).await, StatusCode::GONE, "something was said of a person");

    let file = click().await;
    let author = Author { actor: "test", key: None, at: now() };
    site.store.withdraw_document(&district, &"IEP-1".parse().unwrap(), author).await.unwrap().unwrap();
    assert_eq!(get(file).await, StatusCode::GONE, "it was withdrawn");
}

#[tokio::test]
async fn drafts_older_withdrawn_and_other_programs_documents_are_not_shown() {
    let site = Site::start().await;
    let district = site.district("lone-star").await;
    let author = || Author { actor: "test", key: None, at: now() };
    for (id, program, starts, completed) in [
        ("older", PROGRAM, "2025-09-01", true),
        ("newest", PROGRAM, "2026-09-01", true),
        ("withdrawn", PROGRAM, "2026-09-05", true),
        ("draft", PROGRAM, "2026-09-10", false),
        ("other", "Section 504", "2026-09-15", true),
    ] {
        let html = format!("<!DOCTYPE html><html><body>{id}</body></html>");
        let differs = |new: &mut NewDocument| {
            program.clone_into(&mut new.program);
            (new.starts_on, new.completed) = (starts.parse().unwrap(), completed);
        };
        site.document_with(&district, id, Some(html.as_bytes()), differs).await;
    }
    site.store.withdraw_document(&district, &"withdrawn".parse().unwrap(), author()).await.unwrap().unwrap();
    let platform = site.platform(&district).await;
    let mut browser = Browser::new();
    let page = browser.click(&site, &district, &platform, STUDENT).await;
    let source = attribute(&page.text, "id=\"document\"", "src").unwrap();
    let file = browser.get(site.config.launch_url(&district).join(&source).unwrap()).await;
    assert!(file.text.contains("<body>newest</body>"), "{}", file.text);
    assert_eq!(site.views(&district).await[0].1.as_deref(), Some("newest"));
}

#[tokio::test]
async fn a_pdf_is_served_as_one() {
    let site = Site::start().await;
    let district = site.district("lone-star").await;
    site.document(&district, "IEP-1", Some(b"%PDF-1.7\n%%EOF\n")).await;
    let platform = site.platform(&district).await;
    let mut browser = Browser::new();
    let page = browser.click(&site, &district, &platform, STUDENT).await;
    assert!(!page.text.contains("sandbox"), "a browser's PDF viewer does not start within a sandbox");
    let source = attribute(&page.text, "id=\"document\"", "src").unwrap();
    let file = browser.get(site.config.launch_url(&district).join(&source).unwrap()).await;
    assert_eq!(file.header(header::CONTENT_TYPE), "application/pdf");
    assert_eq!(file.header(header::X_CONTENT_TYPE_OPTIONS), "nosniff");
    assert!(file.header(header::CONTENT_DISPOSITION).starts_with("inline"));
    let policy = file.header(header::CONTENT_SECURITY_POLICY);
    assert!(!policy.contains("sandbox") && !policy.contains("script-src"), "{policy}");
    assert!(policy.starts_with("default-src 'none'; object-src 'self';"), "{policy}");
    assert!(policy.contains(&format!("frame-ancestors 'self' {}", platform.origin())), "{policy}");
}

#[tokio::test]
async fn no_document_is_said_kindly_and_logged() {
    let site = Site::start().await;
    let district = site.district("lone-star").await;
    let platform = site.platform(&district).await;
    let page = Browser::new().click(&site, &district, &platform, STUDENT).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("No document yet") && page.text.contains(PROGRAM), "{}", page.text);
    assert_eq!(site.views(&district).await[0].3, "no-document");
}

#[tokio::test]
async fn a_document_without_a_file_says_so() {
    let site = Site::start().await;
    let district = site.district("lone-star").await;
    site.document(&district, "IEP-1", None).await;
    let platform = site.platform(&district).await;
    let page = Browser::new().click(&site, &district, &platform, STUDENT).await;
    assert!(page.text.contains("There is no file to show") && !page.text.contains("<iframe"), "{}", page.text);
}

#[tokio::test]
async fn platforms_differ_and_all_work() {
    house!(site, district, platform, _browser);
    let manners = [
        Manners { bare_keys: true, ..Manners::default() },
        Manners { sends_azp: true, ..Manners::default() },
        Manners { audience_list: true, sends_azp: true, ..Manners::default() },
        Manners { terse_login: true, ..Manners::default() },
        Manners { token_life_seconds: 3_600, ..Manners::default() },
    ];
    for (number, manner) in manners.into_iter().enumerate() {
        platform.configure(|config| config.manners = manner.clone());
        platform.rotate_key(&format!("key-{number}")).unwrap();
        site.clock.advance(TimeDelta::seconds(31));
        let page = Browser::new().click(&site, &district, &platform, STUDENT).await;
        assert_eq!(page.status, StatusCode::OK, "{manner:?}");
    }
}

#[tokio::test]
async fn custom_and_lis_claims_may_be_absent() {
    let site = Site::start().await;
    let district = site.district("lone-star").await;
    site.document(&district, "IEP-1", Some(HOSTILE_HTML.as_bytes())).await;
    let platform = site.platform(&district).await;
    platform.configure(|config| config.manners.no_custom = true);
    let page = Browser::new().click(&site, &district, &platform, STUDENT).await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST, "nobody is named where the registration looks");
    site.register(&district, &platform, |details| details.user = Place::Subject).await;
    let access = UserAccess { students: StudentScope::Everybody, programs: Vec::new() };
    site.say(&district, "user-9", &access).await;
    assert_eq!(Browser::new().click(&site, &district, &platform, STUDENT).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_login_may_begin_with_a_get() {
    house!(site, district, platform, browser);
    let mut url = site.config.login_url(&district);
    url.query_pairs_mut().extend_pairs(platform.click(STUDENT, PROGRAM));
    let page = browser.get(&url).await;
    assert_eq!(page.status, StatusCode::FOUND);
    let cookie = page.header(header::SET_COOKIE);
    for part in ["HttpOnly", "Secure", "SameSite=None", "Partitioned", "Path=/", "Max-Age=600"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let location: url::Url = page.header(header::LOCATION).parse().unwrap();
    let form = platform.authenticate(location.query().unwrap()).unwrap();
    assert_eq!(browser.post(site.config.launch_url(&district), &form).await.status, StatusCode::OK);
}

#[tokio::test]
async fn opaque_hints_come_back_as_they_came() {
    house!(site, district, platform, browser);
    let hint = format!("{}+/=&%ü\"<>", "x".repeat(600));
    let mut fields = platform.click(STUDENT, PROGRAM);
    for field in &mut fields {
        if field.0 == "login_hint" || field.0 == "lti_message_hint" {
            field.1.clone_from(&hint);
        }
    }
    let page = browser.post(site.config.login_url(&district), &fields).await;
    let location: url::Url = page.header(header::LOCATION).parse().unwrap();
    let pairs: Vec<(String, String)> = location.query_pairs().into_owned().collect();
    for name in ["login_hint", "lti_message_hint"] {
        assert!(pairs.contains(&(name.to_owned(), hint.clone())), "{name}");
    }
}

#[tokio::test]
async fn any_process_of_the_site_takes_the_launch() {
    house!(site, district, platform, browser);
    let form = browser.login(&site, &district, &platform, STUDENT).await;
    let other = site.another_process().await;
    let page = browser.post(other.join("lti/lone-star/launch").unwrap(), &form).await;
    assert_eq!(page.status, StatusCode::OK);
    let source = attribute(&page.text, "id=\"document\"", "src").unwrap();
    let file = browser.get(site.config.launch_url(&district).join(&source).unwrap()).await;
    assert_eq!(file.status, StatusCode::OK, "the first process gives the file out");
}

#[tokio::test]
async fn two_tabs_do_not_clash() {
    house!(site, district, platform, browser);
    let first = browser.login(&site, &district, &platform, STUDENT).await;
    let second = browser.login(&site, &district, &platform, STUDENT).await;
    for form in [first, second] {
        assert_eq!(browser.post(site.config.launch_url(&district), &form).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_flag_that_we_pushed_names_student_and_program_by_its_id() {
    let site = Site::start().await;
    let district = site.district("lone-star").await;
    site.document(&district, "IEP-1", Some(HOSTILE_HTML.as_bytes())).await;
    let flag = uuid::Uuid::new_v4();
    site.flag("lone-star", flag).await;
    // Another source's student has the same id after its prefix: the flag's is known exactly.
    site.connections("lone-star", &[None, Some("B-")]).await;
    site.another_student("lone-star", &format!("B-{STUDENT}")).await;
    let platform = site
        .platform_with(&district, |details| {
            details.student = Place::Flag;
            details.program = Place::Flag;
            details.connection = Some(ConnectionNo(0));
        })
        .await;
    for (id, expected) in [(flag, StatusCode::OK), (uuid::Uuid::new_v4(), StatusCode::BAD_REQUEST)] {
        platform.configure(|config| config.extra_query = vec![("flag".to_owned(), id.to_string())]);
        let page = Browser::new().click(&site, &district, &platform, "ignored").await;
        assert_eq!(page.status, expected, "{}", page.text);
    }
    assert_eq!(site.views(&district).await[0].0, STUDENT);
}

#[tokio::test]
async fn staff_see_their_schools_students_only() {
    house!(site, district, platform, browser);
    let page = browser.click(&site, &district, &platform, OTHER_STUDENT).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    assert!(page.text.contains("No access"), "{}", page.text);
    let refused = (OTHER_STUDENT.to_owned(), None, TEACHER.to_owned(), "refused".to_owned());
    assert_eq!(site.views(&district).await, [refused]);
}

/// An enrollment of before that nobody closed leaves the student at no former school.
#[tokio::test]
async fn staff_of_a_former_school_see_nothing() {
    for (was, is, status) in [(2027, 2027, StatusCode::OK), (2026, 2027, StatusCode::FORBIDDEN)] {
        house!(site, district, platform, browser);
        site.moved_on(STUDENT, was, is).await;
        assert_eq!(browser.click(&site, &district, &platform, STUDENT).await.status, status, "{was}");
    }
}

#[tokio::test]
async fn a_document_is_headed_with_the_name_of_its_day() {
    house!(site, district, platform, browser);
    site.rename(STUDENT, "Anna").await;
    let page = browser.click(&site, &district, &platform, STUDENT).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("Ana ") && !page.text.contains("Anna"), "{}", page.text);
}

/// An older or broken value: the name is today's.
#[tokio::test]
async fn a_document_whose_demographics_cannot_be_read_is_shown_without_them() {
    house!(site, district, platform, browser);
    site.rename(STUDENT, "Anna").await;
    site.spoil("demographics", "IEP-1").await;
    let page = browser.click(&site, &district, &platform, STUDENT).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    assert!(page.text.contains("Anna") && page.text.contains("id=\"document\""), "{}", page.text);
}

#[tokio::test]
async fn letter_case_of_an_id_does_not_matter() {
    house!(site, district, platform, browser);
    platform.configure(|config| config.user.sourced_id = TEACHER.to_uppercase());
    let page = browser.click(&site, &district, &platform, &STUDENT.to_uppercase()).await;
    assert_eq!(page.status, StatusCode::OK);
    assert_eq!(site.views(&district).await[0].0, STUDENT);
}

#[tokio::test]
async fn who_may_see_nobody_does_so_in_no_letter_case() {
    house!(site, district, platform, browser);
    let access = UserAccess { students: StudentScope::Nobody, programs: Vec::new() };
    site.say(&district, &TEACHER.to_uppercase(), &access).await;
    for spelled in [TEACHER.to_owned(), TEACHER.to_uppercase()] {
        platform.configure(|config| config.user.sourced_id.clone_from(&spelled));
        let page = browser.click(&site, &district, &platform, STUDENT).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{spelled}");
    }
}

#[tokio::test]
async fn an_administrators_word_counts_before_the_roster() {
    house!(site, district, platform, browser);
    let access = |students| UserAccess { students, programs: Vec::new() };
    let cases = [
        (StudentScope::Everybody, OTHER_STUDENT, StatusCode::OK),
        (StudentScope::Nobody, STUDENT, StatusCode::FORBIDDEN),
        (StudentScope::Schools(vec!["020".to_owned()]), OTHER_STUDENT, StatusCode::OK),
        (StudentScope::Schools(vec!["020".to_owned()]), STUDENT, StatusCode::FORBIDDEN),
        (StudentScope::Students(vec![OTHER_STUDENT.to_owned()]), OTHER_STUDENT, StatusCode::OK),
    ];
    for (scope, student, expected) in cases {
        site.say(&district, TEACHER, &access(scope.clone())).await;
        let page = browser.click(&site, &district, &platform, student).await;
        assert_eq!(page.status, expected, "{scope:?} {student}");
    }
    assert!(site.unsay(&district, TEACHER).await);
    assert_eq!(browser.click(&site, &district, &platform, STUDENT).await.status, StatusCode::OK);
}

/// The platform names the person without the connection's prefix, the administrator as the roster does.
#[tokio::test]
async fn an_administrators_word_counts_by_the_rosters_id_too() {
    house!(site, district, platform, browser);
    let mut file = site.store.district(&district).await.unwrap();
    let (prefix, named) = TEACHER.split_at(1);
    file.connections[0].id_prefix = Some(prefix.to_owned());
    site.store.apply_district(&file, &[ConnectionSecrets::default()], "test", now()).await.unwrap();
    platform.configure(|config| config.user.sourced_id = named.to_owned());
    assert_eq!(browser.click(&site, &district, &platform, STUDENT).await.status, StatusCode::OK);
    let access = |students| UserAccess { students, programs: Vec::new() };
    site.say(&district, TEACHER, &access(StudentScope::Nobody)).await;
    assert_eq!(browser.click(&site, &district, &platform, STUDENT).await.status, StatusCode::FORBIDDEN);
    site.say(&district, named, &access(StudentScope::Everybody)).await;
    let refused = browser.click(&site, &district, &platform, STUDENT).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "the stricter of two words");
    assert!(site.unsay(&district, TEACHER).await);
    assert_eq!(browser.click(&site, &district, &platform, OTHER_STUDENT).await.status, StatusCode::OK);
}

/// Whom no listing of staff has, an administrator may let in all the same, by the roster's id.
#[tokio::test]
async fn an_administrator_lets_in_who_is_no_staff_of_the_roster() {
    house!(site, district, platform, browser);
    site.connections("lone-star", &[Some("3f")]).await;
    platform.configure(|config| config.user.sourced_id = "Nurse-9".to_owned());
    assert_eq!(browser.click(&site, &district, &platform, STUDENT).await.status, StatusCode::FORBIDDEN);
    let access = |students| UserAccess { students, programs: Vec::new() };
    site.say(&district, "3fnurse-9", &access(StudentScope::Everybody)).await;
    assert_eq!(browser.click(&site, &district, &platform, STUDENT).await.status, StatusCode::OK);
    site.say(&district, "nurse-9", &access(StudentScope::Nobody)).await;
    let refused = browser.click(&site, &district, &platform, STUDENT).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "the stricter of two words");
}

/// Two sources number their people from one; the second's stand after `b-`. What a platform calls 7 and 5 is its own source's.
macro_rules! two_sources {
    ($site:ident, $district:ident, $platform:ident, $browser:ident) => {
        let $site = Site::start().await;
        let $district = $site.district("lone-star").await;
        $site.connections("lone-star", &[None, Some("b-")]).await;
        for (connection, student, name) in [(0, "7", "Di"), (1, "b-7", "Ed")] {
            $site.person_of(&$district, connection, student, Some(name)).await;
            let of = StudentId(student.to_owned());
            $site.document_with(&$district, student, Some(HOSTILE_HTML.as_bytes()), |new| new.student = of).await;
        }
        $site.person_of(&$district, 0, "5", None).await;
        let $platform = $site.platform(&$district).await;
        $platform.configure(|config| config.user.sourced_id = "5".to_owned());
        let mut $browser = Browser::new();
    };
}

#[tokio::test]
async fn a_platforms_ids_are_of_its_own_source() {
    two_sources!(site, district, platform, browser);
    let of = async |connection| {
        site.register(&district, &platform, |details| details.connection = connection).await;
    };
    let shown = async || site.views(&district).await.into_iter().map(|view| (view.0, view.3)).next();
    let seen = |student: &str, outcome: &str| Some((student.to_owned(), outcome.to_owned()));
    let page = browser.click(&site, &district, &platform, "7").await;
    assert_eq!((page.status, shown().await), (StatusCode::BAD_REQUEST, None), "nobody said of which source");
    of(Some(ConnectionNo(2))).await;
    let page = browser.click(&site, &district, &platform, "7").await;
    assert_eq!((page.status, shown().await), (StatusCode::BAD_REQUEST, None), "of one that is not there");
    of(Some(ConnectionNo(0))).await;
    let page = browser.click(&site, &district, &platform, "7").await;
    assert_eq!((page.status, shown().await), (StatusCode::OK, seen("7", "shown")));
    let page = browser.click(&site, &district, &platform, "b-7").await;
    assert_eq!((page.status, shown().await), (StatusCode::FORBIDDEN, seen("7", "shown")), "another source's student");
    of(Some(ConnectionNo(1))).await;
    let page = browser.click(&site, &district, &platform, "7").await;
    assert_eq!((page.status, shown().await), (StatusCode::FORBIDDEN, seen("b-7", "refused")), "another source's staff");
    site.person_of(&district, 1, "b-5", None).await;
    let page = browser.click(&site, &district, &platform, "7").await;
    assert_eq!((page.status, shown().await), (StatusCode::OK, seen("b-7", "shown")));
    let mut file = site.store.district(&district).await.unwrap();
    file.connections[1].staff = StaffScope::None;
    let secrets = [ConnectionSecrets::default(), ConnectionSecrets::default()];
    site.store.apply_district(&file, &secrets, "test", now()).await.unwrap();
    let page = browser.click(&site, &district, &platform, "7").await;
    assert_eq!(
        (page.status, shown().await),
        (StatusCode::FORBIDDEN, seen("b-7", "refused")),
        "no staff are wanted of it"
    );
}

#[tokio::test]
async fn a_word_on_one_sources_person_is_none_on_that_of_another() {
    two_sources!(site, district, platform, browser);
    site.register(&district, &platform, |details| details.connection = Some(ConnectionNo(1))).await;
    let say = async |connection, id: &str, students| {
        let (namer, access) = (Namer::Source(ConnectionNo(connection)), UserAccess { students, programs: Vec::new() });
        site.store.put_lti_user(&district, (&namer, id), &access, "test", now()).await.unwrap();
    };
    say(0, "5", StudentScope::Everybody).await;
    let page = browser.click(&site, &district, &platform, "7").await;
    assert_eq!(page.status, StatusCode::FORBIDDEN, "5 is the first source's");
    say(1, "b-5", StudentScope::Students(vec!["b-7".to_owned()])).await;
    assert_eq!(browser.click(&site, &district, &platform, "7").await.status, StatusCode::OK);
    say(0, "5", StudentScope::Nobody).await;
    assert_eq!(browser.click(&site, &district, &platform, "7").await.status, StatusCode::OK, "5 is the first source's");
    site.register(&district, &platform, |details| details.connection = Some(ConnectionNo(0))).await;
    assert_eq!(browser.click(&site, &district, &platform, "7").await.status, StatusCode::FORBIDDEN);
    say(0, "5", StudentScope::Everybody).await;
    assert_eq!(browser.click(&site, &district, &platform, "7").await.status, StatusCode::OK);
}

/// Platforms number their people as they like: equal numbers are two people.
#[tokio::test]
async fn a_word_on_one_platforms_person_is_none_on_that_of_another() {
    for place in [Place::Subject, Place::LisPerson] {
        let site = Site::start().await;
        let district = site.district("lone-star").await;
        site.connections("lone-star", &[None, Some("b-")]).await;
        site.document(&district, "IEP-1", Some(HOSTILE_HTML.as_bytes())).await;
        let mut platforms = Vec::new();
        for (user, connection) in [(Place::Subject, 0), (place.clone(), 1)] {
            let platform = site
                .platform_with(&district, |details| {
                    (details.user, details.connection) = (user, Some(ConnectionNo(connection)));
                    (details.student, details.program) = (Place::Flag, Place::Flag);
                })
                .await;
            platforms.push(platform);
        }
        let flag = uuid::Uuid::new_v4();
        site.flag("lone-star", flag).await;
        for platform in &platforms {
            platform.configure(|config| {
                config.extra_query = vec![("flag".to_owned(), flag.to_string())];
                // The same id, wherever it stands.
                "t9".clone_into(&mut config.user.subject);
                "t9".clone_into(&mut config.user.sourced_id);
            });
        }
        let seen = async || {
            let mut all = Vec::new();
            for platform in &platforms {
                all.push(Browser::new().click(&site, &district, platform, "ignored").await.status == StatusCode::OK);
            }
            all
        };
        assert_eq!(seen().await, [false, false], "{place}");
        let registrations = site.store.registrations(&district).await.unwrap();
        let file = site.store.district(&district).await.unwrap();
        let [first, second] = [0, 1].map(|number| registrations[number].namer(&file).unwrap());
        let say = async |namer: &Namer, students| {
            let (person, access) = ((namer, "t9"), UserAccess { students, programs: Vec::new() });
            site.store.put_lti_user(&district, person, &access, "test", now()).await.unwrap();
        };
        say(&first, StudentScope::Everybody).await;
        assert_eq!(seen().await, [true, false], "{place}");
        say(&second, StudentScope::Nobody).await;
        assert_eq!(seen().await, [true, false], "{place}");
        say(&second, StudentScope::Everybody).await;
        assert_eq!(seen().await, [true, true], "{place}");
        // As a version before stored it: somebody else may be meant.
        say(&Namer::Unclear, StudentScope::Nobody).await;
        assert_eq!(seen().await, [false, false], "{place}");
        say(&Namer::Unclear, StudentScope::Everybody).await;
        assert_eq!(seen().await, [true, true], "{place}");
        assert!(site.store.remove_lti_user(&district, (&second, "t9"), "test", now()).await.unwrap());
        assert_eq!(seen().await, [true, false], "{place}: what is in doubt gives nothing");
    }
}

/// A platform that is registered anew numbers its people anew; who was to see nothing still does not.
#[tokio::test]
async fn a_word_on_a_platform_that_is_gone_only_takes_away() {
    house!(site, district, platform, browser);
    let by = async |user: Place| site.register(&district, &platform, |details| details.user = user).await;
    let registration = by(Place::Subject).await;
    platform.configure(|config| TEACHER.clone_into(&mut config.user.subject));
    let access = |students| UserAccess { students, programs: Vec::new() };
    site.say(&district, TEACHER, &access(StudentScope::Everybody)).await;
    assert_eq!(browser.click(&site, &district, &platform, OTHER_STUDENT).await.status, StatusCode::OK);
    assert!(site.store.remove_registration(&district, registration, "test", now()).await.unwrap());
    by(Place::Subject).await;
    assert_eq!(browser.click(&site, &district, &platform, OTHER_STUDENT).await.status, StatusCode::FORBIDDEN);
    site.say(&district, TEACHER, &access(StudentScope::Nobody)).await;
    by(Place::LisPerson).await;
    assert_eq!(browser.click(&site, &district, &platform, STUDENT).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn roles_narrow_and_never_widen() {
    house!(site, district, platform, browser);
    platform.configure(|config| config.user.roles = vec![LEARNER.to_owned()]);
    assert_eq!(browser.click(&site, &district, &platform, STUDENT).await.status, StatusCode::FORBIDDEN);
    platform.configure(|config| config.user.roles = Vec::new());
    assert_eq!(browser.click(&site, &district, &platform, STUDENT).await.status, StatusCode::OK);
    platform.configure(|config| {
        config.user.roles = vec!["http://purl.imsglobal.org/vocab/lis/v2/system/person#Administrator".to_owned()];
        config.user.sourced_id = "nobody-we-know".to_owned();
    });
    assert_eq!(browser.click(&site, &district, &platform, STUDENT).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn staff_see_nothing_where_the_registration_says_so() {
    let site = Site::start().await;
    let district = site.district("lone-star").await;
    let platform = site.platform_with(&district, |details| details.staff = StaffAccess::Nothing).await;
    assert_eq!(Browser::new().click(&site, &district, &platform, STUDENT).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn the_platforms_own_number_of_a_person_is_no_staff_id() {
    let site = Site::start().await;
    let district = site.district("lone-star").await;
    let platform = site.platform_with(&district, |details| details.user = Place::Subject).await;
    platform.configure(|config| config.user.subject = TEACHER.to_owned());
    assert_eq!(Browser::new().click(&site, &district, &platform, STUDENT).await.status, StatusCode::FORBIDDEN);
    let access = UserAccess { students: StudentScope::Everybody, programs: vec![PROGRAM.to_owned()] };
    site.say(&district, TEACHER, &access).await;
    assert_eq!(Browser::new().click(&site, &district, &platform, STUDENT).await.status, StatusCode::OK);
}

#[tokio::test]
async fn within_a_frame_that_keeps_no_cookies_the_way_leads_to_a_tab_of_its_own() {
    house!(site, district, platform, browser);
    let form = browser.login(&site, &district, &platform, STUDENT).await;
    browser.cookies.clear();
    let page = browser.post_as(site.config.launch_url(&district), &form, "iframe").await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    assert_eq!(attribute(&page.text, "form method", "target").as_deref(), Some("_blank"));
    let policy = page.header(header::CONTENT_SECURITY_POLICY);
    assert!(policy.contains("form-action 'self';"), "{policy}");
    assert!(policy.contains(&format!("frame-ancestors {}", platform.origin())), "{policy}");
    // The button begins again at hop 1 with what the platform sent.
    for (name, value) in platform.click(STUDENT, PROGRAM) {
        if name != "canvas_region" {
            let found = attribute(&page.text, &format!("name=\"{name}\""), "value").unwrap();
            assert_eq!(found.replace("&#38;", "&"), value, "{name}");
        }
    }
    assert!(site.views(&district).await.is_empty(), "nothing was shown");
    // It leads on by no redirect, which the page's policy would hold to its own list.
    let own_tab = attribute(&page.text, "rollcall_own_tab", "name").unwrap();
    assert_eq!(own_tab, "rollcall_own_tab");
    let fields = [platform.click(STUDENT, PROGRAM), vec![("rollcall_own_tab", "1".to_owned())]].concat();
    let page = browser.post(site.config.login_url(&district), &fields).await;
    assert_eq!(page.status, StatusCode::OK);
    let onward: url::Url = page.header(header::REFRESH).strip_prefix("0; url=").unwrap().parse().unwrap();
    assert_eq!(onward.origin().ascii_serialization(), platform.origin());
    let link = attribute(&page.text, "id=\"onward\"", "href").unwrap();
    assert_eq!(link.replace("&#38;", "&"), onward.as_str());
    let form = platform.authenticate(onward.query().unwrap()).unwrap();
    assert_eq!(browser.post(site.config.launch_url(&district), &form).await.status, StatusCode::OK);
}

/// The page that says so is shown where the launch was, within the platform's frame.
#[tokio::test]
async fn while_the_store_is_away_the_frame_says_so() {
    house!(site, district, platform, browser);
    browser.login(&site, &district, &platform, STUDENT).await;
    let database = site.database().await;
    sqlx::query("ALTER TABLE lti_registration RENAME TO away").execute(&database).await.unwrap();
    let page = browser.post(site.config.login_url(&district), &platform.click(STUDENT, PROGRAM)).await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(page.text.contains("Please try again in a few minutes."), "{}", page.text);
    let policy = page.header(header::CONTENT_SECURITY_POLICY);
    assert!(policy.ends_with(&format!("frame-ancestors {}", platform.origin())), "{policy}");
    database.close().await;
}

/// Between the decision and its ticket somebody takes the right away.
#[tokio::test]
async fn who_loses_the_right_in_the_middle_of_a_launch_is_shown_nothing() {
    house!(site, district, platform, browser);
    let everybody = UserAccess { students: StudentScope::Everybody, programs: Vec::new() };
    let nobody = UserAccess { students: StudentScope::Nobody, programs: Vec::new() };
    site.say(&district, TEACHER, &everybody).await;
    site.say(&district, "another", &nobody).await;
    let database = site.database().await;
    let taken = format!(
        "CREATE TRIGGER taken AFTER INSERT ON lti_ticket BEGIN UPDATE lti_user SET access = \
         (SELECT access FROM lti_user WHERE user_id = 'another') WHERE user_id = '{TEACHER}'; END"
    );
    sqlx::query(sqlx::AssertSqlSafe(taken)).execute(&database).await.unwrap();
    let page = browser.click(&site, &district, &platform, STUDENT).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    let tickets: i64 = sqlx::query_scalar("SELECT count(*) FROM lti_ticket").fetch_one(&database).await.unwrap();
    assert_eq!(tickets, 0);
    database.close().await;
}

#[tokio::test]
async fn the_tools_keys_are_published_and_rotated_one_cache_life_ahead() {
    house!(site, district, _platform, browser);
    let url = site.config.jwks_url(&district);
    let kids = |page: &crate::support::Page| -> Vec<String> {
        let set: serde_json::Value = serde_json::from_str(&page.text).unwrap();
        set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    };
    let before = browser.get(&url).await;
    assert_eq!(before.header(header::CACHE_CONTROL), "public, max-age=3600");
    assert!(!before.text.contains("\"d\""), "no private part");
    let old = kids(&before);
    let start = now();
    let new = rollcall_web::lti::tool_keys::rotate(&site.store, &district, "test", start).await.unwrap();
    assert_eq!(kids(&browser.get(&url).await), [old[0].clone(), new.clone()]);
    let signing = |at| site.store.signing_tool_key(&district, at);
    assert_eq!(signing(start + TimeDelta::minutes(59)).await.unwrap().unwrap().kid, old[0]);
    assert_eq!(signing(start + TimeDelta::minutes(61)).await.unwrap().unwrap().kid, new);
    site.clock.set(start + TimeDelta::minutes(119));
    assert_eq!(kids(&browser.get(&url).await).len(), 2);
    site.clock.set(start + TimeDelta::minutes(121));
    assert_eq!(kids(&browser.get(&url).await), [new]);
}

#[tokio::test]
async fn the_site_tells_whether_it_lives_and_every_answer_is_guarded() {
    house!(site, _district, _platform, browser);
    for path in ["health/live", "health/ready", "nowhere", "lti/nowhere/jwks", "api/v1/openapi.json"] {
        let page = browser.get(site.base.join(path).unwrap()).await;
        let expected = if path.contains("nowhere") { StatusCode::NOT_FOUND } else { StatusCode::OK };
        assert_eq!(page.status, expected, "{path}");
        assert_eq!(page.header(header::X_CONTENT_TYPE_OPTIONS), "nosniff", "{path}");
        assert!(page.header(header::CONTENT_SECURITY_POLICY).contains("frame-ancestors 'none'"), "{path}");
    }
}
