//! A browser for the demo: just enough to click a flag and to read what comes.
//!
//! Deliberately absent: script. A form that posts itself is posted, as its script would.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use reqwest::{Client, Method, Response, StatusCode, header, redirect};
use url::Url;

/// Redirects and forms that are followed from one click.
const MOST_HOPS: usize = 8;

/// See the module. Keeps cookies of one site.
pub(super) struct Browser {
    client: Client,
    cookies: BTreeMap<String, String>,
}

/// Where a click has led.
pub(super) struct Page {
    /// Its address.
    pub(super) url: Url,
    /// Its status.
    pub(super) status: StatusCode,
    /// Its media type.
    pub(super) kind: String,
    /// Its text.
    pub(super) text: String,
    /// The way there: method, path and status of each request.
    pub(super) hops: Vec<String>,
}

/// What is asked for next.
struct Request {
    method: Method,
    url: Url,
    form: Vec<(String, String)>,
}

impl Browser {
    pub(super) fn new() -> anyhow::Result<Self> {
        let client = Client::builder().redirect(redirect::Policy::none()).no_proxy().build()?;
        Ok(Self { client, cookies: BTreeMap::new() })
    }

    /// Opens an address, and goes on where the answers lead.
    pub(super) async fn open(&mut self, url: Url) -> anyhow::Result<Page> {
        let mut request = Request { method: Method::GET, url, form: Vec::new() };
        let mut hops = Vec::new();
        for _ in 0..MOST_HOPS {
            let response = self.send(&request).await?;
            hops.push(format!("{} {} {}", request.method, request.url.path(), response.status().as_u16()));
            let status = response.status();
            if let Some(location) = header_of(&response, header::LOCATION) {
                let url = request.url.join(&location).context("a redirect that leads nowhere")?;
                request = Request { method: Method::GET, url, form: Vec::new() };
                continue;
            }
            let kind = header_of(&response, header::CONTENT_TYPE).unwrap_or_default();
            let (url, text) = (request.url.clone(), response.text().await?);
            match posts_itself(&text) {
                Some((action, form)) => {
                    let url = url.join(&action).context("a form that leads nowhere")?;
                    request = Request { method: Method::POST, url, form };
                }
                None => return Ok(Page { url, status, kind, text, hops }),
            }
        }
        bail!("the click leads round in circles: {}", hops.join(", "))
    }

    async fn send(&mut self, request: &Request) -> anyhow::Result<Response> {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut sent = self.client.request(request.method.clone(), request.url.clone());
        if request.method == Method::POST {
            sent = sent.form(&request.form);
        }
        let sent = sent.header(header::COOKIE, cookies.join("; ")).header("sec-fetch-dest", "document");
        let response = sent.send().await.with_context(|| format!("opening {}", request.url.path()))?;
        for value in response.headers().get_all(header::SET_COOKIE) {
            let pair = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
            if let Some((name, value)) = pair.split_once('=') {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        Ok(response)
    }
}

fn header_of(response: &Response, name: header::HeaderName) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(str::to_owned)
}

/// Action and fields of a form that a script posts at once.
fn posts_itself(html: &str) -> Option<(String, Vec<(String, String)>)> {
    let form = html.split("<form").nth(1).filter(|_| html.contains(".submit()"))?;
    let inputs = form.split("</form>").next()?.split("<input").skip(1);
    let fields = inputs.filter_map(|tag| Some((attribute(tag, "name")?, attribute(tag, "value")?)));
    Some((attribute(form, "action")?, fields.collect()))
}

/// An attribute's value, in the text of a tag.
pub(super) fn attribute(tag: &str, name: &str) -> Option<String> {
    let value = tag.split(&format!(" {name}=\"")).nth(1)?.split('"').next()?;
    Some(plain(value))
}

/// The text of the first element of a name.
pub(super) fn text_of(html: &str, element: &str) -> Option<String> {
    let inner = html.split(&format!("<{element}>")).nth(1)?.split(&format!("</{element}>")).next()?;
    Some(plain(inner.trim()))
}

fn plain(text: &str) -> String {
    text.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_that_posts_itself_is_read() {
        let html = "<form id=\"go\" method=\"post\" action=\"http://a/?x=1&amp;y=2\"><input type=\"hidden\" \
                    name=\"state\" value=\"a&quot;b\"><button>Go</button></form><script>x.submit()</script>";
        let form = vec![("state".to_owned(), "a\"b".to_owned())];
        assert_eq!(posts_itself(html), Some(("http://a/?x=1&y=2".to_owned(), form)));
        assert_eq!(posts_itself(&html.replace(".submit()", "")), None, "a person has to press the button");
        assert_eq!(text_of("<h1>A &amp; B</h1>", "h1").as_deref(), Some("A & B"));
    }
}
