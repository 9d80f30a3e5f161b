//! A launch from a platform that nobody of this project wrote: `lti-provider-mock` (`PyPI`, MIT), under uvicorn.
//!
//! Its keys have neither `use` nor `alg`, it sends no `azp`, its roles are empty, and a restart of it is a new key under
//! the old name. `./test` installs it; see deploy/lib/services.sh.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use reqwest::{Client, StatusCode, header};
use rollcall_proto::id::DistrictId;
use rollcall_store::lti::{Place, Registration, RegistrationDetails, StaffAccess, StudentScope, UserAccess};
use serde_json::json;
use url::Url;
use uuid::Uuid;

use crate::support::{Browser, HOSTILE_HTML, PROGRAM, STUDENT, Site, attribute, now};

const ISSUER: &str = "https://independent.example/platform";

/// The platform's process.
struct Platform {
    process: Child,
    url: Url,
}

impl Drop for Platform {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "tests are told where the platform is by ./test")]
fn uvicorn() -> String {
    std::env::var("ROLLCALL_TEST_LTI_PLATFORM").expect(
        "ROLLCALL_TEST_LTI_PLATFORM is not set: run ./test, which installs the independent LTI platform \
         (lti-provider-mock from PyPI) and names its uvicorn here",
    )
}

impl Platform {
    async fn start(site: &Site, district: &DistrictId, port: u16) -> Self {
        let mut link = site.config.launch_url(district);
        link.query_pairs_mut().append_pair("program", PROGRAM);
        let users = json!([{ "id": "u1", "given_name": "Terry", "family_name": "T", "email": "t@example.org" }]);
        let process = Command::new(uvicorn())
            .args(["lti_provider_mock.server:app", "--host", "127.0.0.1", "--port", &port.to_string()])
            .env("LTI_PROVIDER_MOCK__LTI__ISS", ISSUER)
            .env("LTI_PROVIDER_MOCK__LTI__LOGIN_URL", site.config.login_url(district).as_str())
            .env("LTI_PROVIDER_MOCK__LTI__LAUNCH_URL", link.as_str())
            .env("LTI_PROVIDER_MOCK__USERS", users.to_string())
            .env("LTI_PROVIDER_MOCK__COURSES", json!([{ "id": STUDENT, "name": "Flag" }]).to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the independent LTI platform cannot be started");
        let platform = Self { process, url: format!("http://127.0.0.1:{port}/").parse().unwrap() };
        platform.answers().await;
        platform
    }

    async fn answers(&self) {
        let jwks = self.url.join("jwks").unwrap();
        for _ in 0..600 {
            if reqwest::get(jwks.clone()).await.is_ok_and(|answer| answer.status() == StatusCode::OK) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the independent LTI platform does not answer within a minute");
    }

    /// Signs in and clicks, then lets the browser go through the site's login and back. Returns the launch's answer.
    async fn click(&self, browser: &mut Browser, district: &str, site: &Site) -> crate::support::Page {
        let person = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let signed_in = person.post(self.url.join("login").unwrap()).form(&[("userid", "u1")]).send().await.unwrap();
        let mut cookies = cookies(&signed_in);
        let course = self.url.join(&format!("courses/{STUDENT}")).unwrap();
        let page = person.get(course).header(header::COOKIE, cookies.join("; ")).send().await.unwrap();
        cookies.extend(self::cookies(&page));
        let html = page.text().await.unwrap();
        let names = ["iss", "target_link_uri", "lti_message_hint", "client_id", "lti_deployment_id", "login_hint"];
        let field = |name: &'static str| (name, attribute(&html, &format!("name=\"{name}\""), "value").unwrap());
        // The template writes one attribute a line.
        let login = browser.post(site.base.join(&format!("lti/{district}/login")).unwrap(), &names.map(field)).await;
        assert_eq!(login.status, StatusCode::FOUND, "{}", login.text);
        let authorize = login.header(header::LOCATION).to_owned();
        let page = person.get(authorize).header(header::COOKIE, cookies.join("; ")).send().await.unwrap();
        let html = page.text().await.unwrap();
        let action = attribute(&html, "id=\"launch-form\"", "action").unwrap();
        let form =
            ["id_token", "state"].map(|name| (name, attribute(&html, &format!("name=\"{name}\""), "value").unwrap()));
        browser.post(action, &form).await
    }
}

fn cookies(response: &reqwest::Response) -> Vec<String> {
    let all = response.headers().get_all(header::SET_COOKIE);
    all.iter().map(|value| value.to_str().unwrap().split(';').next().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_launch_from_an_independent_platform_and_again_after_its_restart() {
    let site = Site::start().await;
    let district = site.district("lone-star").await;
    site.document(&district, "IEP-1", Some(HOSTILE_HTML.as_bytes())).await;
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let platform = Platform::start(&site, &district, port).await;
    let new = Registration {
        district: district.clone(),
        id: Uuid::now_v7(),
        issuer: ISSUER.to_owned(),
        client_id: "lti-provider-mock".to_owned(),
        auth_url: platform.url.join("authorize").unwrap(),
        jwks_url: platform.url.join("jwks").unwrap(),
        details: RegistrationDetails {
            deployments: vec!["1".to_owned()],
            student: Place::Context,
            program: Place::TargetLinkQuery("program".to_owned()),
            user: Place::Subject,
            connection: None,
            staff: StaffAccess::OwnSchools,
            frame_origins: Vec::new(),
        },
        created_at: now(),
    };
    site.store.register_platform(&new, "test").await.unwrap().unwrap();
    let access = UserAccess { students: StudentScope::Everybody, programs: Vec::new() };
    site.say(&district, "u1", &access).await;

    let mut browser = Browser::new();
    let page = platform.click(&mut browser, "lone-star", &site).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    assert!(page.text.contains("id=\"document\""), "{}", page.text);

    drop(platform);
    let platform = Platform::start(&site, &district, port).await;
    site.clock.advance(chrono::TimeDelta::seconds(31));
    let page = platform.click(&mut browser, "lone-star", &site).await;
    assert_eq!(page.status, StatusCode::OK, "a new key under the old name: {}", page.text);
}
