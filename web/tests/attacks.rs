//! The attack list of the wire facts (LTI part A7): each row a test. Whatever is wrong, the answer is the same page, and
//! nothing is shown or logged as shown.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use chrono::TimeDelta;
use reqwest::{StatusCode, header};
use rollcall_proto::id::DistrictId;
use rollcall_sandbox::lti::{Attack, LtiPlatform};

use crate::support::{Browser, Form, HOSTILE_HTML, OTHER_STUDENT, PROGRAM, Page, STUDENT, Site, attribute};

struct House {
    site: Site,
    district: DistrictId,
    platform: LtiPlatform,
    browser: Browser,
}

impl House {
    async fn new() -> Self {
        let site = Site::start().await;
        let district = site.district("lone-star").await;
        site.document(&district, "IEP-1", Some(HOSTILE_HTML.as_bytes())).await;
        let platform = site.platform(&district).await;
        Self { site, district, platform, browser: Browser::new() }
    }

    async fn login(&mut self) -> Form {
        self.browser.login(&self.site, &self.district, &self.platform, STUDENT).await
    }

    /// Hop 1 alone.
    async fn begin(&mut self) -> Page {
        let url = self.site.config.login_url(&self.district);
        self.browser.post(url, &self.platform.click(STUDENT, PROGRAM)).await
    }

    async fn launch(&mut self, form: &Form) -> Page {
        self.browser.post(self.site.config.launch_url(&self.district), form).await
    }

    /// A whole launch with this attack: refused, with the generic page, and nothing shown.
    async fn refuses(&mut self, attack: Attack) {
        self.platform.set_attack(attack.clone());
        let form = self.login().await;
        let page = self.launch(&form).await;
        self.assert_refused(&page, &format!("{attack:?}")).await;
        self.platform.set_attack(Attack::None);
    }

    async fn assert_refused(&self, page: &Page, what: &str) {
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{what}");
        assert!(page.text.contains("The document could not be opened"), "{what}: {}", page.text);
        assert!(!page.text.contains("<script") && !page.text.contains("<iframe"), "{what}: {}", page.text);
        assert!(self.site.views(&self.district).await.is_empty(), "{what}");
    }
}

#[tokio::test]
async fn replay_of_a_captured_form_post() {
    let mut house = House::new().await;
    let form = house.login().await;
    let cookies = house.browser.cookies.clone();
    assert_eq!(house.launch(&form).await.status, StatusCode::OK);
    house.browser.cookies = cookies;
    let again = house.launch(&form).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST);
    assert_eq!(house.site.views(&house.district).await.len(), 1, "shown once");
}

#[tokio::test]
async fn replay_at_the_same_moment() {
    let mut house = House::new().await;
    let form = house.login().await;
    let url = house.site.config.launch_url(&house.district);
    let tries = (0..8).map(|_| {
        let mut browser = Browser::new();
        browser.cookies = house.browser.cookies.clone();
        let (url, form) = (url.clone(), form.clone());
        tokio::spawn(async move { browser.post(url, &form).await.status })
    });
    let mut shown = 0;
    for one in tries.collect::<Vec<_>>() {
        shown += usize::from(one.await.unwrap() == StatusCode::OK);
    }
    assert_eq!(shown, 1);
}

#[tokio::test]
async fn login_csrf_the_victims_browser_posts_the_attackers_token() {
    let mut house = House::new().await;
    let form = house.login().await;
    let mut victim = Browser::new();
    let page = victim.post(house.site.config.launch_url(&house.district), &form).await;
    house.assert_refused(&page, "no cookie").await;
    // Nor with the cookie of a login of its own.
    victim.login(&house.site, &house.district, &house.platform, STUDENT).await;
    let page = victim.post(house.site.config.launch_url(&house.district), &form).await;
    house.assert_refused(&page, "another cookie").await;
}

#[tokio::test]
async fn launch_with_no_prior_login() {
    let mut house = House::new().await;
    let mut form = house.login().await;
    for field in &mut form {
        if field.0 == "state" {
            "never-given-out".clone_into(&mut field.1);
        }
    }
    let page = house.launch(&form).await;
    house.assert_refused(&page, "unknown state").await;
}

#[tokio::test]
async fn launch_after_the_login_has_expired() {
    let mut house = House::new().await;
    let form = house.login().await;
    house.site.clock.advance(TimeDelta::minutes(10));
    let page = house.launch(&form).await;
    house.assert_refused(&page, "expired state").await;
}

#[tokio::test]
async fn alg_none_in_any_spelling_and_an_empty_signature() {
    let mut house = House::new().await;
    for alg in ["none", "NONE", "nOnE", "None", "", "RS256 ", "rs256", "HS256", "RS512", "ES256"] {
        house.refuses(Attack::Unsigned(alg)).await;
    }
    house.refuses(Attack::EmptySignature).await;
}

#[tokio::test]
async fn rs256_to_hs256_with_the_public_key_as_secret() {
    House::new().await.refuses(Attack::PublicKeyAsSecret).await;
}

#[tokio::test]
async fn kid_of_another_platform_or_path_or_sql() {
    let mut house = House::new().await;
    for kid in ["", "another", "../../../../etc/passwd", "' OR 1=1 --", "platform-key-1\0"] {
        house.refuses(Attack::KeyId(kid)).await;
    }
    house.refuses(Attack::ForeignKey).await;
    // A key that another registered platform does publish.
    let other = house.site.district("alamo").await;
    let other_platform = house.site.platform(&other).await;
    other_platform.rotate_key("key-of-alamo").unwrap();
    house.refuses(Attack::KeyId("key-of-alamo")).await;
}

#[tokio::test]
async fn jku_x5u_jwk_and_x5c_of_the_header_are_not_looked_at() {
    House::new().await.refuses(Attack::KeyInHeader).await;
}

#[tokio::test]
async fn critical_header_members_are_refused() {
    House::new().await.refuses(Attack::Critical).await;
}

#[tokio::test]
async fn audience_list_with_the_attackers_client_and_a_wrong_azp() {
    let mut house = House::new().await;
    for attack in [Attack::ExtraAudience, Attack::OtherAudience, Attack::OtherParty] {
        house.refuses(attack).await;
    }
}

#[tokio::test]
async fn token_of_deployment_b_in_tenant_a() {
    let mut house = House::new().await;
    house.refuses(Attack::OtherDeployment).await;
    // The deployment of a second tenant, on the same platform and client, is not good for the first.
    let alamo = house.site.district("alamo").await;
    house.site.register(&alamo, &house.platform, |details| details.deployments = vec!["deployment-2".to_owned()]).await;
    house.platform.configure(|config| config.deployment_id = "deployment-2".to_owned());
    let page =
        house.browser.post(house.site.config.login_url(&house.district), &house.platform.click(STUDENT, PROGRAM)).await;
    house.assert_refused(&page, "deployment of another tenant at login").await;
    house.platform.configure(|config| config.manners.terse_login = true);
    let form = house.login().await;
    let page = house.launch(&form).await;
    house.assert_refused(&page, "deployment of another tenant in the token").await;
}

#[tokio::test]
async fn a_state_of_one_tenant_is_none_of_another() {
    let mut house = House::new().await;
    let alamo = house.site.district("alamo").await;
    house.site.register(&alamo, &house.platform, |details| details.deployments = vec!["deployment-2".to_owned()]).await;
    let form = house.login().await;
    let page = house.browser.post(house.site.config.launch_url(&alamo), &form).await;
    house.assert_refused(&page, "state of another tenant").await;
}

#[tokio::test]
async fn mix_up_a_token_of_one_issuer_sent_to_the_others_state() {
    let mut house = House::new().await;
    house.refuses(Attack::OtherIssuer).await;
    // Two platforms of one district: the state of one, the token of the other.
    let other = house.site.platform(&house.district).await;
    let mine = house.login().await;
    let theirs = house.browser.login(&house.site, &house.district, &other, STUDENT).await;
    let take = |form: &Form, name: &str| form.iter().find(|field| field.0 == name).unwrap().1.clone();
    let mixed = vec![("id_token", take(&theirs, "id_token")), ("state", take(&mine, "state"))];
    let page = house.launch(&mixed).await;
    house.assert_refused(&page, "mix-up").await;
}

#[tokio::test]
async fn a_token_goes_with_its_own_state_only() {
    let mut house = House::new().await;
    let (first, second) = (house.login().await, house.login().await);
    let take = |form: &Form, name: &str| form.iter().find(|field| field.0 == name).unwrap().1.clone();
    let swapped = vec![("id_token", take(&first, "id_token")), ("state", take(&second, "state"))];
    let page = house.launch(&swapped).await;
    house.assert_refused(&page, "a nonce that was given out, but not with this state").await;
    house.refuses(Attack::OtherNonce).await;
}

#[tokio::test]
async fn open_redirect_through_target_link_uri() {
    let mut house = House::new().await;
    let here = house.site.config.launch_url(&house.district).to_string();
    for link in [
        "https://evil.example/",
        "//evil.example/",
        "javascript:alert(1)",
        &here.replace("localhost", "localhost@evil.example"),
        &here.replace("http://", "http:\\\\"),
        &format!("{here}/../../../elsewhere"),
    ] {
        let mut fields = house.platform.click(STUDENT, PROGRAM);
        fields.iter_mut().filter(|field| field.0 == "target_link_uri").for_each(|field| field.1 = link.to_owned());
        let page = house.browser.post(house.site.config.login_url(&house.district), &fields).await;
        house.assert_refused(&page, link).await;
        assert!(!page.headers.contains_key(header::LOCATION), "{link}");
    }
    house.refuses(Attack::OtherTarget("https://evil.example/".to_owned())).await;
    house.refuses(Attack::OtherTarget(format!("{here}?sid={OTHER_STUDENT}&program=Special+Education"))).await;
}

#[tokio::test]
async fn redirect_uri_is_ours_whatever_the_login_says() {
    let mut house = House::new().await;
    let mut fields = house.platform.click(STUDENT, PROGRAM);
    fields.push(("redirect_uri", "https://evil.example/".to_owned()));
    let page = house.browser.post(house.site.config.login_url(&house.district), &fields).await;
    let location: url::Url = page.header(header::LOCATION).parse().unwrap();
    let sent: Vec<_> = location.query_pairs().filter(|(name, _)| name == "redirect_uri").collect();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].1, house.site.config.launch_url(&house.district).as_str());
}

#[tokio::test]
async fn expired_future_missing_or_mistyped_times() {
    let mut house = House::new().await;
    for attack in [
        Attack::Expired,
        Attack::FromTheFuture,
        Attack::Old,
        Attack::NoExpiry,
        Attack::ExpiryString,
        Attack::ExpiryFraction,
        Attack::NotYet,
    ] {
        house.refuses(attack).await;
    }
}

#[tokio::test]
async fn duplicate_keys_in_the_token_and_duplicate_fields_in_the_form() {
    let mut house = House::new().await;
    house.refuses(Attack::DuplicateClaim).await;
    house.refuses(Attack::DuplicateField).await;
    let mut fields = house.platform.click(STUDENT, PROGRAM);
    fields.push(("iss", "https://evil.example".to_owned()));
    let page = house.browser.post(house.site.config.login_url(&house.district), &fields).await;
    house.assert_refused(&page, "two issuers").await;
}

#[tokio::test]
async fn script_in_names_titles_custom_values_and_errors_is_never_run() {
    let mut house = House::new().await;
    house.refuses(Attack::ErrorWithScript).await;
    house.platform.set_attack(Attack::Script);
    let form = house.login().await;
    let page = house.launch(&form).await;
    assert_eq!(page.status, StatusCode::OK, "nothing of it is used");
    assert!(!page.text.contains("<script") && !page.text.contains("owned"), "{}", page.text);
}

#[tokio::test]
async fn hidden_values_of_the_way_out_of_a_frame_are_escaped() {
    let mut house = House::new().await;
    let hostile = "\"><script>document.title='owned'</script>";
    let mut fields = house.platform.click(STUDENT, PROGRAM);
    fields.iter_mut().filter(|field| field.0.ends_with("_hint")).for_each(|field| hostile.clone_into(&mut field.1));
    let login = house.browser.post(house.site.config.login_url(&house.district), &fields).await;
    let location: url::Url = login.header(header::LOCATION).parse().unwrap();
    let state = location.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    house.browser.cookies.clear();
    let form = vec![("id_token", "never looked at".to_owned()), ("state", state)];
    let page = house.browser.post_as(house.site.config.launch_url(&house.district), &form, "iframe").await;
    assert!(!page.text.contains("<script"), "{}", page.text);
    for name in ["login_hint", "lti_message_hint"] {
        let value = attribute(&page.text, &format!("name=\"{name}\""), "value").unwrap();
        assert!(value.starts_with("&#34;&#62;&#60;script"), "{name}: {value}");
    }
}

#[tokio::test]
async fn ssrf_and_slow_key_sets() {
    let mut house = House::new().await;
    // Each unknown key id is reason to fetch once more, and no oftener than twice a minute.
    for kid in ["a", "b", "c", "d", "e"] {
        house.refuses(Attack::KeyId(kid)).await;
    }
    assert_eq!(house.platform.key_set_fetches(), 1);
    house.site.clock.advance(TimeDelta::seconds(31));
    house.refuses(Attack::KeyId("f")).await;
    house.refuses(Attack::KeyId("g")).await;
    assert_eq!(house.platform.key_set_fetches(), 2);
}

#[tokio::test]
async fn a_platform_whose_key_set_never_comes_holds_nobody_else_up() {
    let mut house = House::new().await;
    // Connections are taken by the kernel, and nobody ever reads them.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let never = format!("http://{}/jwks", silent.local_addr().unwrap()).parse().unwrap();
    house.site.register_as(&house.district, &house.platform, |registration| registration.jwks_url = never).await;
    let alamo = house.site.district("alamo").await;
    house.site.document(&alamo, "IEP-1", Some(HOSTILE_HTML.as_bytes())).await;
    let other = house.site.platform(&alamo).await;
    let url = house.site.config.launch_url(&house.district);
    let mut logins = Vec::new();
    for _ in 0..3 {
        let form = house.login().await;
        let mut browser = Browser::new();
        browser.cookies = std::mem::take(&mut house.browser.cookies);
        logins.push((browser, form));
    }
    let mut launches = Vec::new();
    for (mut browser, form) in logins {
        let url = url.clone();
        launches.push(tokio::spawn(async move { browser.post(url, &form).await }));
    }
    let shown = Browser::new().click(&house.site, &alamo, &other, STUDENT).await;
    assert_eq!(shown.status, StatusCode::OK);
    assert!(launches.iter().all(|launch| !launch.is_finished()), "they are given up before five seconds are over");
    let began = std::time::Instant::now();
    for launch in launches {
        let page = launch.await.unwrap();
        house.assert_refused(&page, "no key set").await;
    }
    assert!(began.elapsed() < std::time::Duration::from_secs(20), "each waits for itself: {:?}", began.elapsed());
}

#[tokio::test]
async fn a_new_key_under_the_old_name_is_taken() {
    let mut house = House::new().await;
    let form = house.login().await;
    assert_eq!(house.launch(&form).await.status, StatusCode::OK);
    house.platform.rotate_key("platform-key-1").unwrap();
    house.site.clock.advance(TimeDelta::seconds(31));
    let form = house.login().await;
    assert_eq!(house.launch(&form).await.status, StatusCode::OK);
}

#[tokio::test]
async fn key_sets_on_private_addresses_are_not_asked_for() {
    use rollcall_web::lti::platform_keys::PlatformKeys;
    let house = House::new().await;
    let clock = std::sync::Arc::new(house.site.clock.clone());
    let keys = PlatformKeys::new(false, clock).unwrap();
    for url in [house.platform.jwks_url().as_str(), "https://127.0.0.1/jwks", "https://169.254.169.254/jwks"] {
        assert!(keys.key(&url.parse().unwrap(), "platform-key-1").await.is_none(), "{url}");
    }
    assert_eq!(house.platform.key_set_fetches(), 0);
    // Nor by a name that resolves to one: nobody comes, where somebody does who may.
    let door = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().into_std().unwrap();
    let url = format!("https://localhost:{}/jwks", door.local_addr().unwrap().port()).parse().unwrap();
    assert!(keys.key(&url, "platform-key-1").await.is_none());
    assert!(door.accept().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
    let door = tokio::net::TcpListener::from_std(door).unwrap();
    let allowed = PlatformKeys::new(true, std::sync::Arc::new(house.site.clock.clone())).unwrap();
    let asked = tokio::spawn(async move { allowed.key(&url, "platform-key-1").await.is_none() });
    door.accept().await.unwrap();
    assert!(asked.await.unwrap(), "it is no key set either");
}

#[tokio::test]
async fn huge_tokens_and_deep_json() {
    let mut house = House::new().await;
    house.refuses(Attack::Deep).await;
    // A token of more than 64 KiB in a form of less than 80, and one of less.
    house.refuses(Attack::Padded(52_000)).await;
    house.platform.set_attack(Attack::Padded(100_000));
    let form = house.login().await;
    let page = house.launch(&form).await;
    assert_eq!(page.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(house.site.views(&house.district).await.is_empty());
    house.platform.set_attack(Attack::Padded(46_000));
    let form = house.login().await;
    assert_eq!(house.launch(&form).await.status, StatusCode::OK);
}

/// Whoever knows an issuer can begin a login.
#[tokio::test]
async fn logins_in_masses_crowd_out_the_oldest_alone() {
    let mut house = House::new().await;
    let oldest = house.login().await;
    house.site.clock.advance(TimeDelta::seconds(1));
    let form = house.login().await;
    house.site.repeat_logins(&house.district, 4_998).await;
    house.site.clock.advance(TimeDelta::seconds(1));
    assert_eq!(house.begin().await.status, StatusCode::FOUND);
    // Whoever is under way goes on.
    assert_eq!(house.launch(&form).await.status, StatusCode::OK);
    let page = house.launch(&oldest).await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    assert!(page.text.contains("click the flag again"), "{}", page.text);
}

#[tokio::test]
async fn clickjacking_of_the_viewer() {
    let mut house = House::new().await;
    let form = house.login().await;
    let page = house.launch(&form).await;
    let policy = page.header(header::CONTENT_SECURITY_POLICY).to_owned();
    let ancestors = policy.split("; ").find(|part| part.starts_with("frame-ancestors")).unwrap();
    assert_eq!(ancestors, format!("frame-ancestors {}", house.platform.origin()), "the platform and nobody else");
}

#[tokio::test]
async fn enumeration_of_students_by_editing_values() {
    let mut house = House::new().await;
    // The target link is signed: edited in hop 1, the token does not fit; and the query of the launch URL is not read.
    let form = house.login().await;
    let mut url = house.site.config.launch_url(&house.district);
    url.query_pairs_mut().append_pair("sid", OTHER_STUDENT).append_pair("program", PROGRAM);
    let page = house.browser.post(&url, &form).await;
    assert_eq!(page.status, StatusCode::OK);
    assert_eq!(house.site.views(&house.district).await[0].0, STUDENT);
    // A genuine token for a student whom this person may not see.
    let page = house.browser.click(&house.site, &house.district, &house.platform, OTHER_STUDENT).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    // And one who is not there at all gets the same answer, so that ids cannot be found out.
    let nobody = house.browser.click(&house.site, &house.district, &house.platform, "no-such-student").await;
    let without_number = |page: &Page| page.text.split("<strong>").next().unwrap().to_owned();
    assert_eq!((nobody.status, without_number(&nobody)), (page.status, without_number(&page)));
}

#[tokio::test]
async fn other_messages_versions_and_nobody() {
    let mut house = House::new().await;
    for attack in [Attack::OtherMessage, Attack::OtherVersion, Attack::Anonymous] {
        house.refuses(attack).await;
    }
}

#[tokio::test]
async fn a_variable_that_was_not_filled_in_names_nobody() {
    let site = Site::start().await;
    let district = site.district("lone-star").await;
    let place = "custom:student_sourced_id".parse().unwrap();
    let platform = site.platform_with(&district, |details| details.student = place).await;
    let mut house = House { site, district, platform, browser: Browser::new() };
    house.refuses(Attack::UnfilledVariable).await;
}

#[tokio::test]
async fn a_login_that_fits_two_registrations_is_refused() {
    let mut house = House::new().await;
    let second = |registration: &mut rollcall_store::lti::Registration| {
        "tool-2".clone_into(&mut registration.client_id);
        registration.details.deployments = vec!["deployment-2".to_owned()];
    };
    house.site.register_as(&house.district, &house.platform, second).await;
    house.platform.configure(|config| config.manners.terse_login = true);
    let login = house.site.config.login_url(&house.district);
    let page = house.browser.post(login, &house.platform.click(STUDENT, PROGRAM)).await;
    house.assert_refused(&page, "no client id, and two registrations of the issuer").await;
    house.platform.configure(|config| config.manners.terse_login = false);
    let form = house.login().await;
    assert_eq!(house.launch(&form).await.status, StatusCode::OK);
}

#[tokio::test]
async fn unknown_issuers_clients_and_districts_lead_nowhere() {
    let mut house = House::new().await;
    let login = house.site.config.login_url(&house.district);
    for (name, value) in [("iss", "https://evil.example"), ("client_id", "another"), ("lti_deployment_id", "another")] {
        let mut fields = house.platform.click(STUDENT, PROGRAM);
        fields.iter_mut().filter(|field| field.0 == name).for_each(|field| field.1 = value.to_owned());
        let page = house.browser.post(&login, &fields).await;
        house.assert_refused(&page, name).await;
        assert!(!page.headers.contains_key(header::LOCATION), "{name}");
    }
    let slash: Form = house
        .platform
        .click(STUDENT, PROGRAM)
        .into_iter()
        .map(|(name, value)| (name, if name == "iss" { format!("{value}/") } else { value }))
        .collect();
    let page = house.browser.post(&login, &slash).await;
    house.assert_refused(&page, "an issuer with a slash more").await;
    let fields = house.platform.click(STUDENT, PROGRAM);
    let page = house.browser.post(house.site.base.join("lti/nowhere/login").unwrap(), &fields).await;
    house.assert_refused(&page, "unknown district").await;
}
