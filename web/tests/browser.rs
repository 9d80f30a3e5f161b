//! A launch in a real browser: headless Chromium with third-party cookies blocked, driven over `WebDriver`.
//!
//! The platform is on 127.0.0.1 and the site on localhost: two sites, as far as a browser goes.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    fmt::Write as _,
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;
use thirtyfour::{ChromiumLikeCapabilities as _, prelude::*};

use crate::support::{HOSTILE_HTML, PROGRAM, STUDENT, Site};

/// Red, green and blue of what [`green_pdf`] paints, which nothing around it has.
const GREEN: [u8; 3] = [0, 153, 51];

/// How many pixels of a picture (PNG bytes, red, green, blue) are of this colour.
const COUNT_PIXELS: &str = r"
    const [bytes, colour, done] = arguments;
    createImageBitmap(new Blob([new Uint8Array(bytes)])).then(image => {
        const context = new OffscreenCanvas(image.width, image.height).getContext('2d');
        context.drawImage(image, 0, 0);
        const pixels = context.getImageData(0, 0, image.width, image.height).data;
        let found = 0;
        for (let at = 0; at < pixels.length; at += 4) {
            found += colour.every((part, place) => Math.abs(pixels[at + place] - part) < 8);
        }
        done(found);
    });
";

/// An invented plan of one page that is all [`GREEN`].
fn green_pdf() -> Vec<u8> {
    let paint = "0 0.6 0.2 rg 0 0 300 100 re f";
    let contents = format!("<</Length {}>>stream\n{paint}\nendstream", paint.len());
    let objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 100]/Resources<<>>/Contents 4 0 R>>",
        &contents,
    ];
    let (mut text, mut places) = ("%PDF-1.4\n".to_owned(), String::new());
    for (object, number) in objects.iter().zip(1..) {
        writeln!(places, "{:010} 00000 n ", text.len()).unwrap();
        writeln!(text, "{number} 0 obj{object} endobj").unwrap();
    }
    let (table, size) = (text.len(), objects.len() + 1);
    write!(text, "xref\n0 {size}\n0000000000 65535 f \n{places}").unwrap();
    writeln!(text, "trailer<</Size {size}/Root 1 0 R>>\nstartxref\n{table}\n%%EOF").unwrap();
    text.into_bytes()
}

/// A driver and its browser, gone at the end.
struct Chromium {
    driver: WebDriver,
    process: Child,
    _profile: tempfile::TempDir,
}

/// What the browser does with cookies of frames.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FrameCookies {
    /// Those that are not kept apart are blocked: the browsers' default today, or soon.
    PartitionedOnly,
    /// None are kept, for the site within the platform.
    Nothing,
}

impl Chromium {
    async fn start(cookies: FrameCookies, site: &Site, platform: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver cannot be started: install the Debian packages chromium and chromium-driver (./test does)");
        let profile = tempfile::tempdir().unwrap();
        let mut capabilities = DesiredCapabilities::chrome();
        for argument in [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--no-first-run",
            &format!("--user-data-dir={}", profile.path().display()),
        ] {
            capabilities.add_arg(argument).unwrap();
        }
        if let Some(proxy) = &site.proxy {
            let trusted = format!("--ignore-certificate-errors-spki-list={}", proxy.key_hash);
            capabilities.add_arg(&trusted).unwrap();
        }
        let mut preferences = json!({ "profile": { "block_third_party_cookies": true, "cookie_controls_mode": 1 } });
        if cookies == FrameCookies::Nothing {
            let pattern = format!("{},{platform}", site.base.origin().ascii_serialization());
            preferences["profile"]["content_settings"] =
                json!({ "exceptions": { "cookies": { pattern: { "setting": 2 } } } });
        }
        capabilities.add_experimental_option("prefs", preferences).unwrap();
        let server = format!("http://127.0.0.1:{port}");
        let mut driver = WebDriver::new(&server, capabilities.clone()).await;
        for _ in 0..100 {
            if driver.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            driver = WebDriver::new(&server, capabilities.clone()).await;
        }
        Self { driver: driver.expect("no session with Chromium"), process, _profile: profile }
    }

    async fn stop(mut self) {
        self.driver.clone().quit().await.unwrap();
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Goes to a page that has the tool in a frame, and into the frame.
    async fn open_in_a_frame(&self, page: &str) {
        self.driver.goto(page).await.unwrap();
        self.find("#tool").await.enter_frame().await.unwrap();
    }

    /// Out of the frame, as a person does who is asked to.
    async fn open_in_a_tab(&self) {
        self.find("#open").await.click().await.unwrap();
        self.switch_to_the_other_tab().await;
    }

    /// Waits until a second tab is there, and looks at it.
    async fn switch_to_the_other_tab(&self) {
        let first = self.driver.window().await.unwrap();
        let other = loop {
            let windows = self.driver.windows().await.unwrap();
            if let Some(other) = windows.into_iter().find(|window| *window != first) {
                break other;
            }
            tokio::task::yield_now().await;
        };
        self.driver.switch_to_window(other).await.unwrap();
    }

    async fn find(&self, css: &str) -> WebElement {
        let query = self.driver.query(By::Css(css)).wait(Duration::from_secs(30), Duration::from_millis(100));
        match query.first().await {
            Ok(element) => element,
            Err(error) => panic!("{css}: {error}\n{}", self.driver.source().await.unwrap_or_default()),
        }
    }

    /// Waits until so many pixels of this colour are to be seen on the page that stands now.
    async fn see(&self, colour: [u8; 3], pixels: u64) {
        let page = self.driver.window().await.unwrap();
        // Counted on a page of its own, since this one may allow no script.
        let counts = self.driver.new_tab().await.unwrap();
        let (mut found, began) = (0, Instant::now());
        while found < pixels {
            assert!(began.elapsed() < Duration::from_secs(30), "{found} pixels of {colour:?}");
            self.driver.switch_to_window(page.clone()).await.unwrap();
            let picture = self.driver.screenshot_as_png().await.unwrap();
            self.driver.switch_to_window(counts.clone()).await.unwrap();
            let counted = self.driver.execute_async(COUNT_PIXELS, vec![json!(picture), json!(colour)]).await.unwrap();
            found = counted.convert().unwrap();
        }
        self.driver.switch_to_window(page).await.unwrap();
    }

    /// The document's text, in whatever frame stands now.
    async fn document_text(&self) -> String {
        self.find("#document").await.enter_frame().await.unwrap();
        self.find("#mark").await.text().await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flag_opens_the_document_in_its_tab_and_a_hostile_one_runs_no_script() {
    let site = Site::start().await;
    let district = site.district("lone-star").await;
    site.document(&district, "IEP-1", Some(HOSTILE_HTML.as_bytes())).await;
    let platform = site.platform(&district).await;
    let browser = Chromium::start(FrameCookies::PartitionedOnly, &site, &platform.origin()).await;
    browser.driver.goto(&platform.origin()).await.unwrap();
    browser.find("a[href^='/flag?']").await.click().await.unwrap();
    let heading = browser.find(".viewer h1").await.text().await.unwrap();
    assert_eq!(heading, "Ana <b>de</b> Vries");
    assert_eq!(browser.document_text().await, "unchanged");
    browser.driver.enter_default_frame().await.unwrap();
    assert!(browser.driver.title().await.unwrap().starts_with(PROGRAM), "the document changed its page");
    browser.stop().await;
    assert_eq!(site.views(&district).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn within_a_frame_of_another_site_the_document_shows_with_third_party_cookies_blocked() {
    let site = Site::start().await;
    let district = site.district("lone-star").await;
    site.document(&district, "IEP-1", Some(HOSTILE_HTML.as_bytes())).await;
    let platform = site.platform(&district).await;
    let browser = Chromium::start(FrameCookies::PartitionedOnly, &site, &platform.origin()).await;
    browser.open_in_a_frame(&platform.framed_url(STUDENT, PROGRAM)).await;
    assert_eq!(browser.document_text().await, "unchanged");
    browser.stop().await;
}

/// What the browser's viewer paints is seen, in a tab and in a frame of another site.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pdf_is_shown() {
    let site = Site::start().await;
    let district = site.district("lone-star").await;
    site.document(&district, "IEP-1", Some(&green_pdf())).await;
    let platform = site.platform(&district).await;
    let browser = Chromium::start(FrameCookies::PartitionedOnly, &site, &platform.origin()).await;
    browser.driver.goto(&platform.origin()).await.unwrap();
    browser.find("a[href^='/flag?']").await.click().await.unwrap();
    browser.find(".viewer h1").await;
    browser.see(GREEN, 2_000).await;
    browser.driver.goto("about:blank").await.unwrap();
    browser.driver.goto(&platform.framed_url(STUDENT, PROGRAM)).await.unwrap();
    browser.see(GREEN, 2_000).await;
    browser.stop().await;
    assert_eq!(site.views(&district).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_frame_keeps_no_cookie_at_all_the_document_opens_in_a_tab_of_its_own() {
    let site = Site::start().await;
    let district = site.district("lone-star").await;
    site.document(&district, "IEP-1", Some(HOSTILE_HTML.as_bytes())).await;
    let platform = site.platform(&district).await;
    let browser = Chromium::start(FrameCookies::Nothing, &site, &platform.origin()).await;
    browser.open_in_a_frame(&platform.framed_url(STUDENT, PROGRAM)).await;
    browser.open_in_a_tab().await;
    let heading = browser.find(".viewer h1").await.text().await.unwrap();
    assert_eq!(heading, "Ana <b>de</b> Vries");
    assert_eq!(browser.document_text().await, "unchanged");
    browser.stop().await;
    assert_eq!(site.views(&district).await.len(), 1, "shown once, in the tab");
}

/// As the site is run: behind a proxy that ends TLS. Only there does the cookie have its prefix, which a browser takes from nobody who
/// does not keep to its rules.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_the_document_opens_in_a_frame_and_out_of_one_with_third_party_cookies_blocked() {
    let site = Site::start_behind_tls().await;
    let district = site.district("lone-star").await;
    site.document(&district, "IEP-1", Some(HOSTILE_HTML.as_bytes())).await;
    let platform = site.platform(&district).await;
    let browser = Chromium::start(FrameCookies::PartitionedOnly, &site, &platform.origin()).await;
    browser.open_in_a_frame(&platform.framed_url(STUDENT, PROGRAM)).await;
    assert_eq!(browser.document_text().await, "unchanged");
    browser.stop().await;

    let browser = Chromium::start(FrameCookies::Nothing, &site, &platform.origin()).await;
    browser.open_in_a_frame(&platform.framed_url(STUDENT, PROGRAM)).await;
    browser.open_in_a_tab().await;
    assert_eq!(browser.find(".viewer h1").await.text().await.unwrap(), "Ana <b>de</b> Vries");
    let address = browser.driver.current_url().await.unwrap();
    assert_eq!(address, site.config.launch_url(&district), "over TLS, and nothing of the launch in it");
    assert_eq!(browser.document_text().await, "unchanged");
    browser.stop().await;
    assert_eq!(site.views(&district).await.len(), 2, "shown once in the frame, once in the tab");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_document_is_a_kind_page_in_a_frame_too() {
    let site = Site::start().await;
    let district = site.district("lone-star").await;
    let platform = site.platform(&district).await;
    let browser = Chromium::start(FrameCookies::PartitionedOnly, &site, &platform.origin()).await;
    browser.open_in_a_frame(&platform.framed_url(STUDENT, PROGRAM)).await;
    let heading = browser.find("main.message h1").await.text().await.unwrap();
    assert_eq!(heading, "No document yet");
    browser.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_anybody_else_cannot_frame_the_document() {
    let site = Site::start().await;
    let district = site.district("lone-star").await;
    site.document(&district, "IEP-1", Some(HOSTILE_HTML.as_bytes())).await;
    let platform = site.platform(&district).await;
    // Another platform's page, not registered, that leads its frame through the registered one's launch.
    let stranger = Site::start().await;
    let stranger_district = stranger.district("lone-star").await;
    let stranger_platform = stranger.platform(&stranger_district).await;
    let login = platform.flag_url(STUDENT, PROGRAM);
    stranger_platform.configure(|config| {
        config.tool_login_url = login.parse().unwrap();
        config.manners.login_by_get = true;
    });
    let browser = Chromium::start(FrameCookies::PartitionedOnly, &site, &platform.origin()).await;
    browser.driver.goto(&stranger_platform.framed_url(STUDENT, PROGRAM)).await.unwrap();
    // The launch went through, as far as the platform goes; the browser did not show it.
    while site.views(&district).await.is_empty() {
        tokio::task::yield_now().await;
    }
    browser.find("#tool").await.enter_frame().await.unwrap();
    let source = browser.driver.source().await.unwrap();
    assert!(!source.contains("Vries") && !source.contains("class=\"viewer\""), "{source}");
    browser.stop().await;
}
